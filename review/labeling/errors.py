from review.core.errors import ConflictError, InvalidError


class LeaseLostError(ConflictError):
    """Your lease on this item has passed on; take the next one."""

    code = "lease_lost"


class UndoRefusedError(ConflictError):
    """A label can be taken back for a short while, and only until your next one."""

    code = "undo_refused"


class KeyReusedError(ConflictError):
    """This client key belongs to the label of another item."""

    code = "key_reused"


class InvalidLabelError(InvalidError):
    """The label contradicts itself or the item."""

    code = "invalid_label"


class AdjudicationRefusedError(ConflictError):
    """These labels cannot be settled by you, or need no settling."""
