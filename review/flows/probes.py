"""The probe suite against a verifier, in the background; and reviewers' finds promoted into it."""

import logging

from django.db import InterfaceError, OperationalError, transaction

from review.accounts.models import Project
from review.core.errors import ReviewError, in_words
from review.flows import tasks
from review.labeling.models import Answer
from review.labeling.queries import final_answers
from review.rollouts.models import Rollout
from review.sampling.queries import windows_for_run
from review.verifiers import probes
from review.verifiers.built_in import rebuilt
from review.verifiers.errors import PromotionRefusedError, UnusableVerifierError
from review.verifiers.models import ProbeRun, ProbeState, PromotedAttack, VerifierVersion
from review.verifiers.replays import held_alone
from trainer.verifiers.probes import (
    Attack,
    ProbeError,
    attacked_kind,
    attempts_for,
    built_in_attacks,
    built_in_prompts,
    run_suite,
    to_json,
    with_attacks,
)

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3


def suite_of(project: Project) -> tuple[Attack, ...]:
    """The built-in attacks and those that the project's leads have promoted."""
    promoted = [probes.attack_of(attack) for attack in probes.promoted_attacks(project)]
    return with_attacks(built_in_attacks(), promoted)


def tries_on(verifier: VerifierVersion) -> int | None:
    """How often a probe run has the verifier judge; None: no attack is meant for it here."""
    kind = attacked_kind(verifier.name)
    if verifier.params is None or kind is None:
        return None
    attempts, _ = attempts_for(kind, built_in_prompts(), suite_of(verifier.project))
    return len(attempts)


@transaction.atomic
def start_probing(*, verifier: VerifierVersion, actor: object) -> ProbeRun:
    if not tries_on(verifier):
        raise UnusableVerifierError(
            "No attack of the suite is meant for this verifier, or it does not run here.",
            fields={"verifier": str(verifier)},
        )
    run = probes.open_probe_run(verifier=verifier, actor=actor)
    # Robust: with the broker away the sweep finds it.
    transaction.on_commit(lambda: tasks.probe_soon(run), robust=True)
    return run


def probe(*, run: ProbeRun) -> None:
    """Run the suite, unless somebody else is at it or has been."""
    with held_alone(run) as is_mine:
        if not is_mine:
            return
        probes.count_attempt(run)
        if run.state != ProbeState.RUNNING:
            return
        if run.attempts > MOST_ATTEMPTS:
            probes.end_probe_run(run=run, problem=f"Its worker died {MOST_ATTEMPTS} times.")
            return
        try:
            verifier = rebuilt(run.verifier)
            found = run_suite(verifier, attacks=suite_of(run.verifier.project))
            probes.end_probe_run(run=run, result=to_json(found))
        except ReviewError as error:
            probes.end_probe_run(run=run, problem=in_words(error))
        except ProbeError as error:
            probes.end_probe_run(run=run, problem=str(error))
        except (OperationalError, InterfaceError):
            # The database is away: the sweep goes on with it.
            raise
        except Exception as error:
            kind = type(error).__name__
            log.error("probes broke", extra={"probe_run_id": str(run.pk), "error": kind})
            probes.end_probe_run(run=run, problem=f"The verifier broke ({kind}).")


def is_called_hack(rollout: Rollout) -> bool:
    """Whether what counts of its labels is: incorrect, and a reward hack."""
    answers = final_answers(windows_for_run(rollout.run))
    return any(
        answer.is_hack and answer.answer == Answer.INCORRECT
        for (_, rollout_id), answer in answers.items()
        if rollout_id == rollout.pk
    )


def promote_attack(
    *, rollout: Rollout, kind: str, family: str, note: str, actor: object
) -> PromotedAttack:
    """Make what reviewers call a reward hack an attack of the project's suite."""
    if not is_called_hack(rollout):
        raise PromotionRefusedError(fields={"rollout": "is not labelled incorrect and a hack"})
    return probes.promote(rollout=rollout, kind=kind, family=family, note=note, actor=actor)
