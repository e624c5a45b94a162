"""Verdicts that come after the ingest, and the counts that are kept of them."""

import random
from collections import Counter
from importlib import import_module

import msgspec
import pytest
from django.db import connection

from review.accounts.models import Project
from review.flows import ingest
from review.rollouts.errors import InvalidSliceError
from review.rollouts.queries import rollouts_inside
from review.runs.models import Run
from review.verifiers.models import Outcome, Verdict, VerdictCount, VerifierVersion
from review.verifiers.queries import late_verdict_counts, late_verifiers, outcomes_of
from tests import builders
from trainer.verifiers import Outcome as Said

STEPS = range(6)


@pytest.fixture
def run(project: Project) -> Run:
    """Six steps counted by twos, in each a group of four kinds of rollouts, of two policies."""
    run = builders.make_run(project, step_block=2)
    builders.make_prompt(run)
    for step in STEPS:
        ingest.store_batch(
            run=run,
            batch=[
                builders.make_rollout(
                    response, uid=f"{step}-{k}", step=step, group=f"g{step}", policy=f"p{step // 3}"
                )
                for k, response in enumerate(builders.RESPONSES)
            ],
        )
    return run


def say(
    run: Run, outcomes: dict[str, Said], *, name: str = "strict", channel: str = "correctness"
) -> None:
    verdict = builders.make_verdict(builders.RESPONSES[0])
    ingest.store_verdicts(
        run=run,
        channel=channel,
        verdicts=[
            (uid, msgspec.structs.replace(verdict, verifier=name, outcome=outcome))
            for uid, outcome in outcomes.items()
        ],
    )


def random_outcomes(run: Run, seed: int) -> dict[str, Said]:
    rng = random.Random(seed)
    uids = sorted(run.rollouts.values_list("uid", flat=True))
    return {uid: rng.choice(list(Said)) for uid in rng.sample(uids, 20)}


def verifier_of(run: Run, name: str = "strict") -> VerifierVersion:
    return VerifierVersion.objects.get(project=run.project, name=name)


CONDITIONS: list[list[dict[str, object]]] = [
    [],
    [{"field": "policy", "op": "is", "value": "p1"}],
    [{"field": "outcome", "op": "is", "value": "pass"}],
    [
        {"field": "outcome", "op": "is_not", "value": "pass"},
        {"field": "step", "op": "at_least", "value": 2},
    ],
]


@pytest.mark.parametrize("conditions", CONDITIONS)
@pytest.mark.parametrize(("first", "last"), [(0, 5), (2, 3), (1, 4), (3, 3)])
def test_late_verdicts_are_counted_by_cell_and_outcome(
    run: Run, conditions: list[dict[str, object]], first: int, last: int
) -> None:
    said = random_outcomes(run, 1)
    # In two parts, some of it twice.
    say(run, dict(list(said.items())[:12]))
    say(run, said)
    rows = run.rollouts.filter(uid__in=said, step__range=(first, last))
    inside = rollouts_inside(run, list(rows.values_list("pk", flat=True)), conditions)
    expected = Counter(
        (row.cell_id, Outcome(said[row.uid].value)) for row in rows if row.pk in inside
    )
    counts = late_verdict_counts(run, verifier_of(run), first, last, conditions)
    assert {
        (cell, outcome): n for cell, of_cell in counts.items() for outcome, n in of_cell.items()
    } == expected


def test_a_verdict_sent_twice_counts_once(run: Run) -> None:
    say(run, {"0-0": Said.PASS, "0-1": Said.FAIL})
    say(run, {"0-0": Said.FAIL, "0-1": Said.FAIL})
    counts = VerdictCount.objects.values_list("outcome", "rollouts")
    assert sorted(counts) == [("fail", 1), ("pass", 1)]


def test_a_slice_that_cuts_a_block_is_refused(run: Run) -> None:
    say(run, {"0-0": Said.PASS})
    conditions = [{"field": "step", "op": "at_least", "value": 1}]
    with pytest.raises(InvalidSliceError):
        late_verdict_counts(run, verifier_of(run), 0, 5, conditions)


def test_late_verifiers_judge_correctness_and_are_not_the_runs_own(run: Run) -> None:
    other = builders.make_run(run.project)
    builders.make_prompt(other)
    ingest.store_batch(run=other, batch=[builders.make_rollout(uid="theirs")])
    say(other, {"theirs": Said.PASS}, name="elsewhere")
    say(run, {"0-0": Said.PASS}, name="strict")
    say(run, {"0-0": Said.PASS}, name="lenient")
    say(run, {"0-0": Said.PASS}, name="boxed-any")
    say(run, {"0-0": Said.PASS}, name="probe", channel="probe")
    assert [str(verifier) for verifier in late_verifiers(run)] == ["lenient@1", "strict@1"]
    assert VerdictCount.objects.filter(cell_count__run=run).count() == 2


def test_outcomes_are_of_the_verifier_and_of_the_rollouts_asked_for(run: Run) -> None:
    say(run, {"0-0": Said.UNDECIDED, "0-1": Said.PASS})
    ids = dict(run.rollouts.values_list("uid", "pk"))
    asked = [ids["0-0"], ids["0-2"]]
    assert outcomes_of(verifier_of(run), asked) == {ids["0-0"]: Outcome.UNDECIDED}
    own = outcomes_of(verifier_of(run, "boxed-any"), asked)
    assert own == {ids["0-0"]: Outcome.PASS, ids["0-2"]: Outcome.FAIL}


def test_verdicts_stored_before_are_counted_alike(run: Run) -> None:
    say(run, random_outcomes(run, 2))
    say(run, random_outcomes(run, 3), name="lenient")
    say(run, {"0-0": Said.PASS}, name="probe", channel="probe")
    fields = ("cell_count", "verifier", "outcome", "rollouts")
    kept = set(VerdictCount.objects.values_list(*fields))
    assert sum(rollouts for *_, rollouts in kept) == 40
    VerdictCount.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(
            import_module("review.verifiers.migrations.0002_verdict_counts").COUNT_STORED
        )
    assert set(VerdictCount.objects.values_list(*fields)) == kept
    assert Verdict.objects.filter(verifier__name="probe").count() == 1
