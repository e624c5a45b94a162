"""A replay judges what is stored: all of it, once, and on from where a killed worker left it."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from review.accounts.models import Project, User
from review.calibration.queries import scorecard
from review.calibration.services.scorecard import refresh_run
from review.core.errors import ReviewError
from review.flows import ingest, tasks
from review.flows import replays as flow
from review.flows.replays import add_verifier, cancel_replay, go_on, start_replay
from review.runs.models import Run
from review.verifiers import built_in
from review.verifiers.errors import (
    ReplayStateError,
    UnusableVerifierError,
    VerifierConflictError,
)
from review.verifiers.models import (
    Replay,
    Verdict,
    VerdictCount,
    VerifierVersion,
)
from review.verifiers.services import known_version, purge_rollouts
from tests import ROOT, builders
from tests.conftest import service_environment
from tests.verifiers import toys
from trainer.verifiers import BUILT_IN, Item, build

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "contains", toys.contains())
    monkeypatch.setitem(BUILT_IN, "steps", toys.steps())


@pytest.fixture
def run(project: Project) -> Run:
    return builders.make_stored_run(project, groups=5)


Open = Callable[..., Replay]


@pytest.fixture
def waiting(run: Run) -> Open:
    """A replay whose cost is known."""

    def make(name: str = "contains", *, of: Run | None = None, **params: Any) -> Replay:
        replay = add_verifier(run=of or run, name=name, params=params, actor="ada")
        assert go_on(replay=replay)
        replay.refresh_from_db()
        return replay

    return make


@pytest.fixture
def started(waiting: Open) -> Open:
    def make(name: str = "contains", **params: Any) -> Replay:
        return start_replay(replay=waiting(name, **params), actor="ada")

    return make


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "FIRST_CHUNK", 4)
    monkeypatch.setattr(flow, "LARGEST_CHUNK", 4)


def finished(replay: Replay) -> Replay:
    assert go_on(replay=replay)
    replay.refresh_from_db()
    return replay


def test_every_stored_rollout_is_judged_as_the_trainer_would(run: Run, started: Open) -> None:
    done = finished(started("alias-contained"))
    assert (done.state, done.rollouts, done.judged, done.undecided) == ("done", 40, 40, 0)
    alone = build("alias-contained")
    for verdict in Verdict.objects.filter(verifier=done.verifier).select_related("rollout"):
        response = verdict.rollout.messages[-1]["content"]
        (said,) = alone.verify([Item("7 + 8", response, ("15",))])
        assert (verdict.outcome, verdict.extracted) == (said.outcome.value, said.extracted)
    counted = VerdictCount.objects.filter(verifier=done.verifier)
    assert sum(counted.values_list("rollouts", flat=True)) == 40


def test_parameters_are_part_of_the_version_and_kept_with_it(run: Run, started: Open) -> None:
    finished(started(text="16", words=["a", "b"], least=1))
    version = VerifierVersion.objects.get(name="contains")
    twin = build("contains", text="16", words=("a", "b"), least=1.0)
    assert version.version == twin.version != build("contains").version
    assert version.params is not None
    assert version.params["words"] == ["a", "b"]
    outcomes = Counter(Verdict.objects.filter(verifier=version).values_list("outcome", flat=True))
    assert outcomes == {"pass": 20, "fail": 20}


def test_what_a_verifier_says_is_stored_without_what_no_database_holds(started: Open) -> None:
    finished(started())
    verdict = Verdict.objects.filter(verifier__name="contains").earliest("pk")
    assert (verdict.extracted, verdict.detail) == ("1", "said ?")
    assert (verdict.record["prompt"], verdict.record["odds"]) == ("7 + 8", None)


def test_a_verifier_of_steps_is_given_the_steps(started: Open) -> None:
    done = finished(started("steps", text="16"))
    said = Verdict.objects.filter(verifier=done.verifier)
    assert Counter(said.values_list("extracted", flat=True)).keys() <= {"0", "1", "2"}
    assert said.filter(outcome="fail").count() == 20


@pytest.mark.usefixtures("small_chunks")
def test_whoever_follows_a_dead_worker_judges_nothing_twice_and_leaves_nothing_out(
    started: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = started()
    store, left = flow.replays.store_chunk, iter(range(3))

    def die_in_the_third_chunk(**kwargs: Any) -> Any:
        with transaction.atomic():
            held = store(**kwargs)
            if next(left) == 2:
                raise KeyboardInterrupt
        return held

    with monkeypatch.context() as patch:
        patch.setattr(flow.replays, "store_chunk", die_in_the_third_chunk)
        with pytest.raises(KeyboardInterrupt):
            go_on(replay=replay)
    replay.refresh_from_db()
    assert (replay.state, replay.judged) == ("running", 8)
    assert Verdict.objects.filter(verifier=replay.verifier).count() == 8

    done = finished(replay)
    assert (done.state, done.judged) == ("done", 40)
    assert Verdict.objects.filter(verifier=replay.verifier).count() == 40


@pytest.mark.usefixtures("small_chunks")
def test_of_two_workers_the_one_that_is_behind_stops(started: Open) -> None:
    replay = started()
    behind = Replay.objects.get(pk=replay.pk)
    rollouts = flow.replays.next_rollouts(behind, 4)
    verdicts = flow.judged_by(build("contains"), behind.verifier, rollouts)
    assert not go_on(replay=replay, seconds=0)
    assert flow.replays.store_chunk(replay=behind, verdicts=verdicts) is None
    assert Verdict.objects.filter(verifier=replay.verifier).count() == 4


@pytest.mark.usefixtures("small_chunks")
def test_a_cancelled_replay_stops_and_keeps_what_is_stored(started: Open) -> None:
    replay = started()
    assert not go_on(replay=replay, seconds=0)
    cancel_replay(replay=replay, actor="ada")
    cancelled = finished(replay)
    assert (cancelled.state, cancelled.judged) == ("cancelled", 4)
    assert Verdict.objects.filter(verifier=replay.verifier).count() == 4
    with pytest.raises(ReplayStateError):
        cancel_replay(replay=replay, actor="ada")


def test_purged_rollouts_are_left_out_and_said_also_those_purged_meanwhile(
    run: Run, waiting: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, meanwhile = run.rollouts.order_by("pk").values_list("uid", flat=True)[:2]
    replay = waiting()
    purge_rollouts(run=run, uids=[before], actor="ada")
    replay = start_replay(replay=replay, actor="ada")
    assert (replay.rollouts, replay.purged) == (39, 1)
    judge = flow.judged_by

    def purged_while_it_is_judged(*args: Any) -> list[Verdict]:
        purge_rollouts(run=run, uids=[meanwhile], actor="ada")
        return judge(*args)

    monkeypatch.setattr(flow, "judged_by", purged_while_it_is_judged)
    done = finished(replay)
    assert (done.state, done.judged, done.purged) == ("done", 38, 2)
    said = Verdict.objects.filter(verifier=replay.verifier)
    assert not said.filter(rollout__uid__in=[before, meanwhile]).exists()


def test_a_purge_blanks_what_a_judge_said(run: Run, started: Open) -> None:
    finished(started())
    uid = run.rollouts.earliest("pk").uid
    purge_rollouts(run=run, uids=[uid], actor="ada")
    verdict = Verdict.objects.get(rollout__uid=uid, verifier__name="contains")
    assert (verdict.record, verdict.extracted, verdict.detail) == (None, None, "")


def test_rollouts_that_come_later_are_judged_by_starting_it_again(run: Run, started: Open) -> None:
    replay = started()
    builders.store_steps(run, [3], groups=2)
    done = finished(replay)
    assert (done.judged, flow.replays.come_since(done)) == (40, 8)
    again = finished(started())
    assert (again.rollouts, again.judged, flow.replays.come_since(again)) == (8, 8, 0)
    assert again.verifier == done.verifier
    once_more = finished(started())
    assert (once_more.state, once_more.judged) == ("done", 0)


def test_one_that_is_under_way_is_answered_instead_of_a_second(run: Run, waiting: Open) -> None:
    assert waiting().pk == waiting().pk
    assert Replay.objects.count() == VerifierVersion.objects.filter(name="contains").count() == 1


def test_verdicts_that_were_sent_before_are_kept(run: Run, started: Open) -> None:
    run.refresh_from_db()
    built_in.register_built_in(project=run.project, name="contains", params={}, actor="ada")
    uid = run.rollouts.earliest("pk").uid
    sent = builders.make_verdict("nothing")
    version = VerifierVersion.objects.get(name="contains")
    changes = {"verifier": "contains", "version": version.version}
    ingest.store_verdicts(
        run=run,
        channel="correctness",
        verdicts=[(uid, ingest.msgspec.structs.replace(sent, **changes))],
    )
    done = finished(started())
    assert (done.rollouts, done.judged) == (39, 39)
    assert Verdict.objects.get(verifier=version, rollout__uid=uid).path == "none"


def test_the_cost_is_timed_on_a_few_rollouts_and_nothing_is_stored(
    waiting: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "SAMPLED", 4)
    replay = waiting(sleep_s=0.005)
    assert (replay.state, replay.rollouts, replay.calls) == ("waiting", 40, None)
    assert replay.seconds is not None
    assert 40 * 0.005 <= replay.seconds < 40 * 0.05
    assert not Verdict.objects.filter(verifier=replay.verifier).exists()


def test_a_judge_is_not_asked_to_say_what_it_costs(
    waiting: Open, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JUDGE_HOSTS = ["judge.example.org"]
    asked: list[object] = []
    monkeypatch.setattr(toys.Contains, "verify", lambda _, batch: asked.append(batch))
    replay = waiting(url="https://judge.example.org/v1")
    assert (replay.state, replay.rollouts, replay.calls) == ("waiting", 40, 40)
    assert replay.tokens is not None
    assert replay.tokens > 40
    assert (replay.seconds, asked) == (None, [])


HOSTS = ["judge.example.org", "other:8001"]


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://judge.example.org/v1", True),
        ("http://JUDGE.example.org:9000/v1", True),
        ("http://other:8001", True),
        ("http://other:8002", False),
        ("http://localhost:8001/v1", False),
        ("http://169.254.169.254/latest/meta-data", False),
        ("https://judge.example.org@evil.example/v1", False),
        ("https://evil.example\\@judge.example.org/v1", False),
        ("https://evil.example/?judge.example.org", False),
        ("file:///etc/passwd", False),
        ("evil.example/v1", False),
        (" https://evil.example", False),
        ("https://judge.example.org/v1\n", False),
    ],
)
def test_a_judge_is_asked_at_a_host_of_the_setting_only(
    run: Run, settings: Any, url: str, is_allowed: bool
) -> None:
    settings.JUDGE_HOSTS = HOSTS
    if is_allowed:
        assert add_verifier(run=run, name="contains", params={"url": url}, actor="ada")
        return
    with pytest.raises(UnusableVerifierError) as refused:
        add_verifier(run=run, name="contains", params={"url": url}, actor="ada")
    assert list(refused.value.fields) == ["params.url"]
    # However deep it stands, and whatever it is called.
    if "://" in url:
        with pytest.raises(UnusableVerifierError):
            add_verifier(run=run, name="contains", params={"words": [[url]]}, actor="ada")


def test_no_host_may_be_asked_unless_the_setting_names_it(run: Run) -> None:
    with pytest.raises(UnusableVerifierError, match="cannot be built"):
        add_verifier(run=run, name="contains", params={"url": "http://localhost/v1"}, actor="ada")


def test_a_criterion_may_be_called_as_a_verifier_is(run: Run) -> None:
    criteria = [
        {"name": name, "text": "It says 15.", "verifier": {"name": "exact-match", "params": {}}}
        for name in ("judge", "process")
    ]
    replay = add_verifier(run=run, name="rubric", params={"criteria": criteria}, actor="ada")
    assert built_in.queue_of(replay.verifier) == "celery"


def test_a_host_that_is_taken_off_the_setting_is_not_asked_any_more(
    started: Open, settings: Any
) -> None:
    settings.JUDGE_HOSTS = ["judge.example.org"]
    replay = started(url="https://judge.example.org/v1")
    settings.JUDGE_HOSTS = []
    failed = finished(replay)
    assert failed.state == "failed"
    assert "ASSAY_JUDGE_HOSTS" in failed.problem


@pytest.mark.parametrize(
    ("name", "params", "field"),
    [
        ("nowhere", {}, "verifier"),
        ("contains", {"nothing": 1}, "params.nothing"),
        ("contains", {"least": 1.5}, "params.least"),
        ("contains", {"least": "high"}, "params.least"),
        ("contains", {"most": 1.5}, "params.most"),
        ("contains", {"most": True}, "params.most"),
        ("contains", {"strict": 1}, "params.strict"),
        ("contains", {"text": ["a"]}, "params.text"),
    ],
)
def test_a_verifier_that_cannot_be_built_is_refused_by_field_and_not_registered(
    run: Run, name: str, params: dict[str, Any], field: str
) -> None:
    before = VerifierVersion.objects.count()
    with pytest.raises(UnusableVerifierError) as refused:
        add_verifier(run=run, name=name, params=params, actor="ada")
    assert list(refused.value.fields) == [field]
    assert VerifierVersion.objects.count() == before
    assert not Replay.objects.exists()


def test_a_name_that_is_another_channels_in_the_project_is_refused(run: Run) -> None:
    version = build("contains").version
    known_version(project=run.project, name="contains", version=version, channel="format")
    with pytest.raises(VerifierConflictError):
        add_verifier(run=run, name="contains", params={}, actor="ada")
    assert not Replay.objects.exists()


def test_what_needs_torch_goes_to_its_queue_and_other_workers_refuse_it_by_name(
    run: Run, started: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_IN, "contains", toys.contains(needs_torch=True))
    sent: list[str] = []
    monkeypatch.setattr(tasks.replay_task, "apply_async", lambda _, queue, **__: sent.append(queue))
    monkeypatch.setattr(built_in, "find_spec", lambda _: None)
    replay = add_verifier(run=run, name="contains", params={}, actor="ada")
    tasks.replay_soon(replay)
    assert sent == ["verify-torch"]
    failed = finished(replay)
    assert failed.state == "failed"
    assert failed.problem.startswith(
        "contains needs torch: only a worker of the queue verify-torch"
    )
    monkeypatch.undo()
    ordinary = started("exact-match")
    assert built_in.queue_of(ordinary.verifier) == "celery"


def test_a_version_that_the_server_has_outgrown_is_said(
    started: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = started()
    monkeypatch.setattr(toys.Contains, "version", "2")
    failed = finished(replay)
    assert (failed.state, failed.judged) == ("failed", 0)
    assert "This server has contains@2 by now" in failed.problem


def test_a_verifier_that_breaks_fails_the_replay_without_quoting_anything(
    started: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replay = started()

    def breaks(*_: object) -> None:
        raise RuntimeError("the completion's secret")

    monkeypatch.setattr(toys.Contains, "verify", breaks)
    failed = finished(replay)
    assert (failed.state, failed.judged) == ("failed", 0)
    assert "RuntimeError" in failed.problem
    assert "secret" not in failed.problem + caplog.text


def test_a_rollout_at_which_workers_die_again_and_again_stops_the_replay_and_is_named(
    run: Run, started: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = started()
    first = run.rollouts.earliest("pk")

    def dies(_: object, batch: list[Item]) -> list[Any]:
        sizes.append(len(batch))
        raise SystemExit

    sizes: list[int] = []
    monkeypatch.setattr(toys.Contains, "verify", dies)
    for _ in range(3):
        with pytest.raises(SystemExit):
            go_on(replay=replay)
    # After the first death rollouts are judged one by one.
    assert sizes == [16, 1, 1]
    failed = finished(replay)
    assert failed.state == "failed"
    assert f"died 3 times at the rollout {first.uid}" in failed.problem


def test_a_worker_that_dies_while_it_measures_is_said_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = add_verifier(run=run, name="contains", params={}, actor="ada")
    Replay.objects.update(attempts=3)
    failed = finished(replay)
    assert failed.problem.startswith("Its worker died 3 times. ")


def test_a_long_replay_is_left_to_another_task(
    started: Open, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = started()
    sent: list[object] = []
    monkeypatch.setattr(tasks, "replay_soon", sent.append)
    monkeypatch.setattr(flow.go_on, "__kwdefaults__", {"seconds": 0})
    tasks.replay_task(str(replay.pk))
    assert sent == [replay]


def test_the_sweep_goes_on_with_what_stands_still(
    started: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = started()
    sent: list[object] = []
    monkeypatch.setattr(tasks, "replay_soon", sent.append)
    tasks.sweep_task()
    assert sent == []
    Replay.objects.update(advanced_at=timezone.now() - timedelta(minutes=5))
    tasks.sweep_task()
    assert sent == [replay]


def test_after_a_replay_every_estimate_exists_for_the_new_verifier(
    project: Project, ben: User, waiting: Open
) -> None:
    run = builders.make_stored_run(project)
    builders.label_audit(builders.open_audit(run, budget=80, waves=2), ben)
    replay = waiting(of=run, text=r"7+8=15. so \boxed{15")
    finished(start_replay(replay=replay, actor="ada"))
    refresh_run(run=run)
    found = {
        row.estimand: row
        for row in scorecard(run)
        if row.verifier == replay.verifier and row.slice is None
    }
    assert found["recall"].point == pytest.approx(1.0)
    assert found["fpr"].point == pytest.approx(0.0)
    assert found["recall"].labels == 80


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_in_the_middle_is_followed_by_another(project: Project) -> None:
    run = builders.make_stored_run(project, groups=5)
    replay = add_verifier(run=run, name="contains", params={}, actor="ada")
    assert go_on(replay=replay)
    replay = start_replay(replay=replay, actor="ada")
    command = [sys.executable, "-m", "tests.flows.replay_worker", str(replay.pk)]
    with subprocess.Popen(command, env=service_environment(), cwd=ROOT) as worker:
        try:
            wait_until(lambda: judged(replay) == 8)
            # While it lives, nobody else begins.
            assert go_on(replay=replay)
            assert judged(replay) == 8
        finally:
            os.kill(worker.pid, signal.SIGKILL)
    # Its third chunk is gone with it; the server takes a moment to see that it is.
    wait_until(lambda: go_on(replay=replay) and judged(replay) > 8)
    said = Verdict.objects.filter(verifier=replay.verifier)
    assert (replay.state, replay.judged, said.count()) == ("done", 40, 40)
    assert said.values("rollout").distinct().count() == 40


def judged(replay: Replay) -> int:
    replay.refresh_from_db()
    return replay.judged


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.django_db(transaction=True)
def test_two_leads_at_once_open_and_start_one_replay(project: Project) -> None:
    run = builders.make_stored_run(project, groups=1)

    def at_once(act: Callable[[], object]) -> list[object]:
        def alone(_: int) -> object:
            try:
                return act()
            except ReplayStateError as error:
                return error
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as leads:
            return list(leads.map(alone, range(4)))

    at_once(lambda: add_verifier(run=run, name="contains", params={}, actor="ada"))
    replay = Replay.objects.get()
    assert go_on(replay=replay)
    started = at_once(lambda: start_replay(replay=replay, actor="ada"))
    assert sum(isinstance(each, Replay) for each in started) == 1
    at_once(lambda: go_on(replay=Replay.objects.get(pk=replay.pk)))
    assert Verdict.objects.filter(verifier=replay.verifier).count() == 8
    assert sum(VerdictCount.objects.values_list("rollouts", flat=True)) == 8


def test_errors_name_what_is_wrong(run: Run) -> None:
    with pytest.raises(ReviewError) as refused:
        add_verifier(run=run, name="nowhere", params={}, actor="ada")
    assert "boxed-any" in refused.value.fields["verifier"]


def test_programs_are_run_in_a_sandbox_or_not_at_all(run: Run) -> None:
    for words in ([["unsandboxed", True]], [{"unsandboxed": True}], ['[{"unsandboxed": true}]']):
        with pytest.raises(UnusableVerifierError) as refused:
            add_verifier(run=run, name="contains", params={"words": words}, actor="ada")
        assert "sandbox" in refused.value.fields["params.words"]


def test_an_address_that_a_verifier_has_as_it_comes_is_refused_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_IN, "calls", toys.Toy("toys:Calls", made=toys.Calls))
    with pytest.raises(UnusableVerifierError) as refused:
        add_verifier(run=run, name="calls", params={}, actor="ada")
    assert list(refused.value.fields) == ["params.base_url"]
    # Nor by a verifier within a verifier.
    within = {"words": [{"name": "calls", "params": {}}]}
    with pytest.raises(UnusableVerifierError) as refused:
        add_verifier(run=run, name="contains", params=within, actor="ada")
    assert "127.0.0.1" in refused.value.fields["params.words"]


def test_a_verifier_within_another_decides_where_it_runs_and_sends_no_key_of_a_leads_choice(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        BUILT_IN, "steps", toys.Toy("toys:Steps", needs_torch=True, made=toys.Steps)
    )
    within = {"words": [{"name": "steps", "params": {}}]}
    replay = add_verifier(run=run, name="contains", params=within, actor="ada")
    assert built_in.queue_of(replay.verifier) == "verify-torch"
    key = {"words": [{"name": "contains", "params": {"api_key_env": "OTHER_API_KEY"}}]}
    with pytest.raises(UnusableVerifierError, match="cannot be built"):
        add_verifier(run=run, name="contains", params=key, actor="ada")
