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


class UnknownNormaliserError(InvalidError):
    """The server does not know this answer normaliser."""
