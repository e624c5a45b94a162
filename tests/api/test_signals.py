"""GET runs/{id}/signal."""

from review.accounts.models import Project
from review.calibration.models import Signal
from review.runs.models import Run
from tests import builders
from tests.api.calls import Caller

REASON = {
    "code": "precision",
    "state": "hold",
    "text": "At most 40 % of what is rewarded is right.",
}


def store(run: Run, state: str, *reasons: dict[str, str]) -> Signal:
    return Signal.objects.create(run=run, state=state, reasons=list(reasons), label_set="")


def test_a_run_that_nobody_has_audited_is_to_be_watched(caller: Caller, run: Run) -> None:
    answer = caller.get(f"runs/{run.pk}/signal")
    assert (answer.status_code, answer.json()["state"], answer.json()["at"]) == (200, "watch", None)
    (reason,) = answer.json()["reasons"]
    assert (reason["code"], reason["state"]) == ("nothing_audited", "watch")
    assert caller.get(f"runs/{run.pk}/signal", If_None_Match=answer["ETag"]).status_code == 304


def test_the_newest_signal_counts(caller: Caller, run: Run) -> None:
    store(run, "ok")
    signal = store(run, "hold", REASON)
    store(builders.make_run(), "ok")
    body = caller.get(f"runs/{run.pk}/signal").json()
    assert (body["state"], body["reasons"]) == ("hold", [REASON])
    assert body["at"] == signal.created_at.isoformat().replace("+00:00", "Z")


def test_an_unchanged_signal_is_not_sent_again(caller: Caller, run: Run) -> None:
    nothing = caller.get(f"runs/{run.pk}/signal")["ETag"]
    store(run, "ok")
    answer = caller.get(f"runs/{run.pk}/signal", If_None_Match=nothing)
    assert (answer.status_code, answer.json()["reasons"]) == (200, [])
    for known in (answer["ETag"], f"W/{answer['ETag']}", "*"):
        again = caller.get(f"runs/{run.pk}/signal", If_None_Match=known)
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", answer["ETag"])
    store(run, "hold", REASON)
    changed = caller.get(f"runs/{run.pk}/signal", If_None_Match=answer["ETag"])
    assert (changed.status_code, changed.json()["state"]) == (200, "hold")


def test_a_trainer_reads_the_signal_with_its_table_token(project: Project, run: Run) -> None:
    trainer = Caller(builders.make_token(project, "table"))
    assert trainer.get(f"runs/{run.pk}/signal").status_code == 200
