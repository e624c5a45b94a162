from review.core.errors import ConflictError, InvalidError


class InvalidRuleError(InvalidError):
    """The audit rule cannot be met as it stands."""

    code = "invalid_rule"


class RuleStateError(ConflictError):
    """The audit rule is not in a state that allows this."""
