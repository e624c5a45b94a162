from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from review.accounts.models import Project
from review.runs.models import Run
from review.verifiers.errors import VerifierConflictError
from review.verifiers.models import Channel, RunVerifier, VerifierVersion
from review.verifiers.queries import verifiers_of

# So many verdicts, at their longest, fit into the key of a cell.
MOST_JUDGES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVerifier:
    name: str
    version: str
    channel: str
    weight: float


@transaction.atomic
def register_verifiers(*, run: Run, verifiers: Sequence[NewVerifier]) -> None:
    """Give the run its verifiers; a repeat must name the same ones in the same order."""
    _refuse_unusable(verifiers)
    versions = [
        known_version(
            project=run.project,
            name=new.name,
            version=new.version,
            channel=new.channel,
            field=f"verifiers[{position}].channel",
        )
        for position, new in enumerate(verifiers)
    ]
    registered = verifiers_of(run)
    if registered and registered != versions:
        names = ", ".join(str(verifier) for verifier in registered)
        raise VerifierConflictError(fields={"verifiers": f"the run has {names}"})
    if not registered:
        RunVerifier.objects.bulk_create(
            RunVerifier(run=run, verifier=version, position=position, weight=new.weight)
            for position, (version, new) in enumerate(zip(versions, verifiers, strict=True))
        )


def _refuse_unusable(verifiers: Sequence[NewVerifier]) -> None:
    names = [(new.name, new.version) for new in verifiers]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise VerifierConflictError(
                "A verifier is named twice.", fields={f"verifiers[{position}]": "@".join(name)}
            )
    judges = sum(new.channel == Channel.CORRECTNESS for new in verifiers)
    if not 1 <= judges <= MOST_JUDGES:
        raise VerifierConflictError(
            f"A run has 1 to {MOST_JUDGES} verifiers of the channel correctness.",
            fields={"verifiers": f"{judges} judge correctness"},
        )


def known_version(
    *, project: Project, name: str, version: str, channel: str, field: str = "channel"
) -> VerifierVersion:
    """The project's verifier of this name and version, made if it is new."""
    known, _ = VerifierVersion.objects.get_or_create(
        project=project, name=name, version=version, defaults={"channel": channel}
    )
    if known.channel != channel:
        raise VerifierConflictError(fields={field: f"is {known.channel} in this project"})
    return known
