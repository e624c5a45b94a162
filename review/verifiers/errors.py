from review.core.errors import InvalidError


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
