"""The labelled rollouts behind an estimate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from review.calibration.models import Estimand
from review.calibration.queries import audited_windows
from review.labeling.models import Answer
from review.labeling.queries import FinalAnswer, final_answers
from review.rollouts.queries import rollouts_inside
from review.rollouts.slices import Conditions
from review.runs.models import Run
from review.sampling.queries import windows_for_run
from review.verifiers.models import Outcome, VerifierVersion
from review.verifiers.queries import correctness_verifiers_of, outcomes_of


@dataclass(frozen=True, slots=True)
class Labelled:
    """A rollout, what counts of its labels, and what the verifier says."""

    rollout_id: int
    final: FinalAnswer
    outcome: Outcome

    @property
    def is_correct(self) -> bool:
        return self.final.answer == Answer.CORRECT

    @property
    def is_accepted(self) -> bool:
        return self.outcome == Outcome.PASS


Rule = Callable[[Labelled], bool]
# Which labelled rollouts an estimand speaks of, and which of them are the bad case.
SPOKEN_OF: Mapping[str, tuple[Rule, Rule]] = {
    Estimand.RECALL: (lambda x: x.is_correct, lambda x: not x.is_accepted),
    Estimand.FPR: (lambda x: not x.is_correct, lambda x: x.is_accepted),
    Estimand.PRECISION: (lambda x: x.is_accepted, lambda x: not x.is_correct),
    Estimand.REJECTED_CORRECT: (lambda x: not x.is_accepted, lambda x: x.is_correct),
    Estimand.ACCURACY: (lambda x: True, lambda x: not x.is_correct),
    Estimand.HACK_RATE: (lambda x: True, lambda x: x.is_accepted and x.final.is_hack),
}


def labelled_behind(
    run: Run,
    estimand: str,
    *,
    verifier: VerifierVersion | None = None,
    conditions: Conditions = (),
) -> list[tuple[Labelled, bool]]:
    """The decided rollouts that the run's estimate speaks of, and whether each is a bad case.

    Bad cases come first. They are a sample with unequal chances: their plain share is no estimate.
    """
    judged = _labelled(run, verifier or correctness_verifiers_of(run)[0], conditions)
    is_meant, is_bad = SPOKEN_OF[estimand]
    found = [(each, is_bad(each)) for each in judged if is_meant(each)]
    return sorted(found, key=lambda pair: (not pair[1], pair[0].rollout_id))


def _labelled(run: Run, verifier: VerifierVersion, conditions: Conditions) -> Sequence[Labelled]:
    windows = windows_for_run(run)
    answers = final_answers(windows)
    known = {
        rollout_id: answer
        for part in audited_windows(run, windows)
        for rollout_id in part.rollouts
        if (answer := answers.get((part.source.rule_id, rollout_id))) and answer.is_decided
    }
    inside = rollouts_inside(run, known, conditions) if conditions else set(known)
    said = outcomes_of(verifier, inside)
    return [Labelled(pk, known[pk], said[pk]) for pk in sorted(said)]
