from review.core.errors import ConflictError, InvalidError


class PromptConflictError(ConflictError):
    """A prompt of this uid is stored with another text or other references."""


class RunConflictError(ConflictError):
    """A run of this uid is registered with other settings."""


class UnknownPromptError(InvalidError):
    """A rollout names a prompt that was not sent."""

    code = "unknown_prompt"


class RunEndedError(ConflictError):
    """The run has ended: register a new one for new rollouts."""

    code = "run_ended"


class StepOrderError(InvalidError):
    """A completed step cannot be taken back."""


class UnknownSegmenterError(InvalidError):
    """There is no such way to cut a completion into steps."""

    code = "unknown_segmenter"


class StepsClaimedError(ConflictError):
    """A process verifier has named wrong steps by their numbers, which would not hold any more."""

    code = "steps_claimed"


class UnknownNormaliserError(InvalidError):
    """The server does not know this answer normaliser."""


class InvalidErratumError(InvalidError):
    """An erratum is decided with a reason."""


class ErratumDecidedError(ConflictError):
    """This erratum waits for no decision any more."""
