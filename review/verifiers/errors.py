from review.core.errors import ConflictError, InvalidError


class VerifierConflictError(InvalidError):
    """A verifier of this name and version is known with another channel, or the run has others."""


class UnknownVerifierError(InvalidError):
    """A verdict names a verifier that the run did not register."""

    code = "unknown_verifier"


class MissingVerdictError(InvalidError):
    """Each correctness verifier of the run must have judged each rollout."""

    code = "missing_verdict"


class MonitorRewardedError(InvalidError):
    """A monitor has no part in a reward: optimising against it teaches the policy to hide."""


class UnusableVerifierError(InvalidError):
    """The verifier cannot be built like this."""

    code = "unusable_verifier"


class VerifierElsewhereError(ConflictError):
    """This verifier does not run here."""

    code = "verifier_elsewhere"


class ReplayStateError(ConflictError):
    """The replay is not in a state that allows this."""

    code = "replay_state"


class PromotionRefusedError(InvalidError):
    """This rollout cannot be made an attack of the suite."""

    code = "promotion_refused"


class NotWhileWaitingError(ConflictError):
    """The server does not judge with this verifier while a caller waits."""

    code = "verifier_elsewhere"
