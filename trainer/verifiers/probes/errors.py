"""What can be wrong with an attack, a prompt or an earlier result."""


class ProbeError(ValueError):
    """An attack, a prompt or a result that cannot be used; the text names the field and the rule,
    and for a file its name and line."""
