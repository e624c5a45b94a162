from review.runs.models import Run
from review.verifiers.models import Channel, VerifierVersion


def verifiers_of(run: Run) -> list[VerifierVersion]:
    """The run's verifiers in their order; the first correctness verifier is the primary one."""
    return [link.verifier for link in run.run_verifiers.select_related("verifier")]


def correctness_verifiers_of(run: Run) -> list[VerifierVersion]:
    return [verifier for verifier in verifiers_of(run) if verifier.channel == Channel.CORRECTNESS]
