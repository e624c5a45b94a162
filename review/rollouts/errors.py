from review.core.errors import ConflictError, InvalidError


class SplitGroupError(InvalidError):
    """A group must be whole in one batch: one prompt, one step, all its rollouts."""

    code = "split_group"


class StepClosedError(ConflictError):
    """The run has said that this step is complete: its frame is fixed."""

    code = "step_closed"


class TooManyCellsError(InvalidError):
    """The verdicts tell too many kinds of rollouts apart: path and form are a few fixed words."""

    code = "too_many_cells"


class DuplicateUidError(InvalidError):
    """A uid stands twice in the batch."""

    code = "duplicate_uid"
