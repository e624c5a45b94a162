"""Another answer normaliser: classes are derived anew, and nothing else."""

import pytest

from review.accounts.models import Project
from review.core.models import AuditEvent
from review.flows import ingest
from review.rollouts.models import CellCount, Rollout
from review.runs.errors import UnknownNormaliserError
from review.runs.models import Run
from review.verifiers import services
from review.verifiers.models import Verdict
from review.verifiers.services import change_normaliser, purge_rollouts
from tests import builders


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project)
    builders.make_prompt(run)
    for group in range(3):
        rows = [
            builders.make_rollout(response, uid=f"{group}-{k}", group=f"g{group}")
            for k, response in enumerate((*builders.RESPONSES, r"\boxed{1,000}"))
        ]
        rows.append(builders.make_rollout(uid=f"{group}-cut", group=f"g{group}", truncated=True))
        ingest.store_batch(run=run, batch=rows)
    return run


def classes(run: Run) -> dict[str, str | None]:
    return dict(run.rollouts.values_list("uid", "answer_class"))


def test_classes_change_and_cells_verdicts_and_counts_do_not(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "BATCH", 4)
    before = classes(run)
    assert [before[f"2-{k}"] for k in range(5)] == ["15", "15", "16", None, "1000"]
    kept = [
        list(model.objects.order_by("pk").values(*fields))
        for model, fields in [(Rollout, ("cell", "messages")), (Verdict, ()), (CellCount, ())]
    ]

    changed = change_normaliser(run=run, normaliser="squad-1", actor="ada")

    assert changed.normaliser == Run.objects.get().normaliser == "squad-1"
    after = classes(run)
    assert [after[f"2-{k}"] for k in range(5)] == ["15", "150", "16", None, "1000"]
    assert after["0-cut"] is None
    assert kept == [
        list(model.objects.order_by("pk").values(*fields))
        for model, fields in [(Rollout, ("cell", "messages")), (Verdict, ()), (CellCount, ())]
    ]
    event = AuditEvent.objects.get(action="normaliser changed")
    assert event.details == {"was": "number-1", "now": "squad-1", "rollouts": 3}


def test_there_and_back_is_where_the_ingest_left_it(run: Run) -> None:
    before = classes(run)
    for normaliser in ("squad-1", "number-1"):
        change_normaliser(run=run, normaliser=normaliser, actor="ada")
    assert classes(run) == before


def test_a_new_batch_is_classed_by_the_new_normaliser(run: Run) -> None:
    change_normaliser(run=run, normaliser="squad-1", actor="ada")
    late = builders.make_rollout(builders.RESPONSES[1], uid="late", group="late")
    ingest.store_batch(run=run, batch=[late])
    assert classes(run)["late"] == "150"


def test_the_same_normaliser_changes_nothing(run: Run) -> None:
    change_normaliser(run=run, normaliser="number-1", actor="ada")
    assert not AuditEvent.objects.filter(action="normaliser changed").exists()


def test_an_unknown_normaliser_is_refused(run: Run) -> None:
    with pytest.raises(UnknownNormaliserError) as refusal:
        change_normaliser(run=run, normaliser="number-9", actor="ada")
    assert refusal.value.fields == {"normaliser": "one of number-1, short-1, squad-1"}


def test_a_purged_rollout_stays_in_no_class(run: Run) -> None:
    purge_rollouts(run=run, uids=["0-0"], actor="ada")
    change_normaliser(run=run, normaliser="squad-1", actor="ada")
    assert classes(run)["0-0"] is None
    assert classes(run)["1-0"] == "15"


def test_another_runs_classes_stay(run: Run) -> None:
    other = builders.make_run(run.project)
    builders.make_prompt(other)
    ingest.store_batch(run=other, batch=[builders.make_rollout(builders.RESPONSES[1], uid="x")])
    change_normaliser(run=run, normaliser="squad-1", actor="ada")
    assert classes(other) == {"x": "15"}
