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


class NotQualifiedError(ConflictError):
    """This queue asks for practice first: pass it, then you are served."""

    code = "not_qualified"


class PausedError(ConflictError):
    """You are paused in this queue until a lead has talked with you."""

    code = "paused"


class InvalidQueueError(InvalidError):
    """The queue cannot be set up like this."""

    code = "invalid_queue"


class QueueInUseError(ConflictError):
    """Somebody has answered an item of this queue, or holds one: what it asks stays as it is."""

    code = "queue_in_use"


class StaleDecisionError(ConflictError):
    """What you read has changed meanwhile; nothing of your decision is stored."""

    code = "stale_decision"


class RequeueRefusedError(ConflictError):
    """This rollout cannot be asked again."""

    code = "requeue_refused"


class RevealRefusedError(ConflictError):
    """You may still be asked about this rollout elsewhere: until then this is kept from you."""

    code = "reveal_refused"


class PracticeRefusedError(ConflictError):
    """This is not the practice item that you are asked now."""

    code = "practice_refused"
