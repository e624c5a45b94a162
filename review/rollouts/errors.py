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


class InvalidSliceError(InvalidError):
    """The slice's conditions break a rule."""

    code = "invalid_slice"


class SliceConflictError(ConflictError):
    """The project has a slice of this name."""


class SliceInUseError(ConflictError):
    """The slice is in use: what is said of it would lose its meaning."""

    code = "slice_in_use"


class InvalidStepsError(InvalidError):
    """The source's steps, one after the other, are all that the assistant wrote."""

    code = "invalid_steps"


class UnknownRolloutError(InvalidError):
    """The run has no rollout of this uid."""

    code = "unknown_rollout"


class UnreadableFileError(InvalidError):
    """The file is of no format that can be imported."""

    code = "unreadable_file"


class InvalidMappingError(InvalidError):
    """The mapping names columns or values that do not fit."""

    code = "invalid_mapping"


class ImportStateError(ConflictError):
    """The import is not in a state that allows this."""

    code = "import_state"
