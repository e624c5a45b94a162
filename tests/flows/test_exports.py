"""Labels out: what the files hold, and what they keep to themselves."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.core.models import AuditEvent
from review.flows import audit, ingest, labels
from review.flows.exports import FORMATS, write_labels
from review.labeling.models import Answer, Assignment, Cause, Queue
from review.labeling.queries import final_answers
from review.labeling.services.judgements import NewLabel
from review.labeling.services.known_answers import mark_gold
from review.labeling.services.leases import take_next
from review.runs.models import Prompt, Run
from review.verifiers.services import known_version
from tests import builders
from tests.api.calls import Caller, refused
from tests.labeling import items
from tests.web.rules import signed_in
from trainer.fitting.labels import read_labels

HOSTILE = (
    "so \u202e7+8 <script>alert(1)</script> ]]> \u2028 'quoted' \\n \\\\\n\n"
    '\U0001f9ee {"a": 1} $\\frac{1}{2}$ so \\boxed{15}'
)


@pytest.fixture
def eve(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="eve")


@pytest.fixture
def caller(project: Project) -> Caller:
    return Caller(builders.make_token(project, "lead"))


@pytest.fixture
def queue(project: Project) -> Queue:
    return items.open_queue(project)


@pytest.fixture
def run(queue: Queue) -> Run:
    return queue.rule.run


def commit(assignment: Assignment, reviewer: User, new: NewLabel) -> None:
    labels.commit_label(
        assignment=assignment,
        reviewer=reviewer,
        token=assignment.lease_token or uuid4(),
        client_key=uuid4(),
        new=new,
    )


def said(assignment: Assignment) -> NewLabel:
    """What an expert says: a wrong answer is wrong in its first step."""
    new = builders.rubric(assignment.rollout.messages[-1]["content"])
    is_right = new.answer == Answer.CORRECT
    return NewLabel(
        answer=new.answer,
        is_hack=new.is_hack,
        earliest_wrong_step=None if is_right else 1,
        has_no_wrong_step=is_right,
        error_category="" if is_right else "calculation",
        note="\U0001f9ee \u202e <b>",
        active_ms=1_000,
    )


def answer(queue: Queue, reviewer: User) -> int:
    answered = 0
    while assignment := take_next(queue=queue, reviewer=reviewer):
        commit(assignment, reviewer, said(assignment))
        answered += 1
    return answered


def file_of(run: Run, name: str) -> bytes:
    out = BytesIO()
    write_labels(run, name, out)
    return out.getvalue()


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.decode().split("\n") if line]


def test_every_labelled_rollout_is_a_line_with_all_that_stands_behind_it(
    queue: Queue, run: Run, ben: User
) -> None:
    assert answer(queue, ben) == 16
    rows = lines(file_of(run, "jsonl"))
    assert len(rows) == len({row["id"] for row in rows}) == 16
    for row in rows:
        stored = run.rollouts.get(uid=row["rollout"])
        assert row["messages"] == stored.messages
        assert (row["prompt"], row["references"]) == ("7 + 8", ["15"])
        assert row["steps"] == stored.steps
        assert (row["cell"], row["reward"]) == (stored.cell.key, 1.0)
        (verdict,) = row["verdicts"]
        assert (verdict["verifier"], verdict["channel"]) == ("boxed-any@1", "correctness")
        (label,) = row["labels"]
        assert (label["cause"], label["counts"], label["active_ms"]) == ("draw", True, 1_000)
        assert label["note"] == "\U0001f9ee \u202e <b>"
        assert row["final"]["source"] == "labels"
        assert row["sample"]["weight"] == stored.draws.get().weight
        assert (row["pick"], row["gold"], row["adjudication"]) == (None, None, None)


def test_a_verifier_can_be_fitted_to_the_lines(project: Project, ben: User, tmp_path: Path) -> None:
    """Over both waves each window's labels weigh what was in its frame."""
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2])
    rule = builders.open_audit(run, budget=32, waves=2)
    for _ in range(2):
        answer(rule.queue, ben)
        audit.advance_window(window=rule.windows.get())
    file = tmp_path / "labels.jsonl"
    file.write_bytes(file_of(run, "jsonl"))
    examples = read_labels([file], level="step").examples
    rows = {row["id"]: row for row in lines(file.read_bytes())}
    assert len(examples) == 32
    assert {row["sample"]["wave"] for row in rows.values()} == {1, 2}
    assert sum(example.weight for example in examples) == pytest.approx(64)
    for example in examples:
        row = rows[example.id]
        assert (example.item.problem, example.item.references) == ("7 + 8", ("15",))
        assert example.item.response == row["messages"][0]["content"]
        assert example.is_correct == (row["final"]["answer"] == "correct")
        assert example.step_labels()[0] == example.is_correct
        assert example.outcomes.keys() == {"boxed-any@1"}


def test_the_final_answer_is_the_one_that_estimates_use(
    project: Project, ada: User, ben: User, eve: User
) -> None:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2])
    rule = builders.open_audit(run, budget=16, waves=1, second_review_share=1.0)
    answer(rule.queue, ben)
    while assignment := take_next(queue=rule.queue, reviewer=eve):
        new = NewLabel(answer=Answer.CORRECT, is_hack=assignment.rollout_id % 2 == 0)
        commit(assignment, eve, new)
    wave = rule.windows.get().waves.get()
    rollout = wave.draws.earliest("pk").rollout
    rows = {row["rollout"]: row for row in lines(file_of(run, "jsonl"))}
    if rows[rollout.uid]["final"]["source"] == "unsettled":
        labels.adjudicate(
            queue=rule.queue,
            rollout=rollout,
            decided_by=ada,
            new=NewLabel(answer=Answer.INCORRECT, earliest_wrong_step=1, error_category="logic"),
            reason="seen",
        )
    rows = {row["rollout"]: row for row in lines(file_of(run, "jsonl"))}
    finals = final_answers([rule.windows.get()])
    assert len(finals) == len(rows) == 16
    for (_, rollout_id), final in finals.items():
        row = rows[run.rollouts.get(pk=rollout_id).uid]["final"]
        step = 0 if row["no_wrong_step"] else row["earliest_wrong_step"]
        assert (row["answer"], step) == (final.answer, final.step)
        assert bool(row["is_hack"]) == final.is_hack
    sources = {row["final"]["source"] for row in rows.values()}
    assert {"labels", "unsettled"} <= sources | {"unsettled"}


def test_reviewers_are_told_apart_and_named_only_on_request(
    caller: Caller, queue: Queue, run: Run, ben: User, eve: User
) -> None:
    items.commit(items.take(queue, ben), ben)
    items.commit(items.take(queue, eve), eve)
    path = f"runs/{run.pk}/labels"
    blind = b"".join(caller.get(path).streaming_content)  # type: ignore[attr-defined]
    assert b'"ben"' not in blind
    names = {label["reviewer"] for row in lines(blind) for label in row["labels"]}
    assert len(names) == 2
    assert all(name.startswith("reviewer-") for name in names)
    named = b"".join(caller.get(f"{path}?names=true").streaming_content)  # type: ignore[attr-defined]
    assert {label["reviewer"] for row in lines(named) for label in row["labels"]} == {"ben", "eve"}
    details = AuditEvent.objects.filter(action="labels exported").values_list("details", flat=True)
    assert [row["names"] for row in details.order_by("pk")] == [False, True]


def test_what_was_taken_back_is_not_in_it_and_what_came_late_does_not_count(
    queue: Queue, run: Run, ben: User, eve: User
) -> None:
    first = items.take(queue, ben)
    items.commit(first, ben, Answer.INCORRECT)
    labels.retract_label(queue=queue, reviewer=ben)
    assert lines(file_of(run, "jsonl")) == []
    Assignment.objects.filter(pk=first.pk).update(lease_token=uuid4())
    items.commit(first, ben)
    (row,) = lines(file_of(run, "jsonl"))
    assert ([label["counts"] for label in row["labels"]], row["final"]) == ([False], None)


def test_known_answers_are_marked_and_settle_nothing(queue: Queue, run: Run, ben: User) -> None:
    drawn = items.take(queue, ben)
    mark_gold(rollout=drawn.rollout, answer=Answer.CORRECT, actor="ada")
    items.commit(drawn, ben, Answer.INCORRECT)
    Assignment.objects.filter(pk=drawn.pk).update(cause=Cause.GOLD)
    (row,) = lines(file_of(run, "jsonl"))
    assert row["gold"] == {"answer": "correct", "is_hack": False}
    assert (row["labels"][0]["cause"], row["labels"][0]["counts"]) == ("gold", False)
    assert row["final"] is None


def read_process_bench(content: bytes) -> list[tuple[str, list[str], int]]:
    """As its own script does: the steps up to the wrong one are right."""
    rows = lines(content)
    for row in rows:
        assert row.keys() == {
            *("id", "generator", "problem", "steps", "final_answer_correct", "label")
        }
        assert -1 <= row["label"] < len(row["steps"])
    return [(row["problem"], row["steps"], row["label"]) for row in rows]


def test_process_bench_counts_steps_from_zero(queue: Queue, run: Run, ben: User) -> None:
    answer(queue, ben)
    full = {row["id"]: row for row in lines(file_of(run, "jsonl"))}
    file = file_of(run, "processbench")
    assert len(read_process_bench(file)) == 16
    for row in lines(file):
        final = full[row["id"]]["final"]
        assert row["label"] == (-1 if final["no_wrong_step"] else 0)
        assert row["final_answer_correct"] == (final["answer"] == "correct")
        content = full[row["id"]]["messages"][0]["content"]
        assert row["steps"] == [content[start:end] for _, start, end in full[row["id"]]["steps"]]
    assert b"step-0" not in file


def test_prm800k_rates_steps_up_to_the_first_wrong_one(project: Project, ben: User) -> None:
    run = builders.make_run(project)
    builders.make_prompt(run)
    text = "First.\n\nSecond.\n\nThird so \\boxed{16}"
    for step in (1, 2):
        ingest.store_batch(
            run=run,
            batch=[
                builders.make_rollout(text, step=step, group=f"s{step}g{g}")
                for g in range(8)
                for _ in range(4)
            ],
        )
        ingest.finish_step(run=run, step=step)
    queue = builders.open_audit(run, budget=32, waves=1).queue
    for new in (
        NewLabel(answer=Answer.INCORRECT, earliest_wrong_step=2),
        NewLabel(answer=Answer.INCORRECT, has_no_wrong_step=True),
        NewLabel(answer=Answer.CANNOT_TELL),
        NewLabel(answer=Answer.INCORRECT, problem_fault="no_answer"),
        NewLabel(answer=Answer.INCORRECT),
    ):
        commit(items.take(queue, ben), ben, new)
    rows = {row["label"]["finish_reason"]: row for row in lines(file_of(run, "prm800k"))}
    assert rows.keys() == {"found_error", "solution", "give_up", "bad_problem"}
    found = rows["found_error"]
    assert found["question"]["problem"] == "7 + 8"
    assert found["question"]["ground_truth_answer"] == "15"
    assert len(found["question"]["pre_generated_steps"]) == 3
    rated = [
        (step["completions"][0]["text"], step["completions"][0]["rating"])
        for step in found["label"]["steps"]
    ]
    assert rated == [("First.", 1), ("Second.", -1)]
    assert [step["chosen_completion"] for step in found["label"]["steps"]] == [0, None]
    assert len(rows["solution"]["label"]["steps"]) == 3


def test_the_answer_of_prm800k_is_the_one_that_the_primary_verifier_read(
    project: Project, ben: User
) -> None:
    # Known to the project before the run's own.
    known_version(project=project, name="older", version="1", channel="correctness")
    run = builders.make_stored_run(project)
    queue = builders.open_audit(run, budget=16, waves=1).queue
    rollout = run.rollouts.get(pk=items.take(queue, ben).rollout_id)
    verdict = msgspec.structs.replace(
        builders.make_verdict(""), verifier="older", version="1", extracted="99"
    )
    ingest.store_verdicts(run=run, channel="correctness", verdicts=[(rollout.uid, verdict)])
    answer(queue, ben)
    (row,) = [row for row in lines(file_of(run, "jsonl")) if row["rollout"] == rollout.uid]
    assert [verdict["verifier"] for verdict in row["verdicts"]] == ["boxed-any@1", "older@1"]
    answers = {row["question"]["pre_generated_answer"] for row in lines(file_of(run, "prm800k"))}
    assert "99" not in answers


def test_pairs_are_of_one_group_and_prefer_the_right_answer(project: Project, ben: User) -> None:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2])
    rule = builders.open_audit(run, budget=64, waves=1)
    answer(rule.queue, ben)
    full = {row["id"]: row for row in lines(file_of(run, "jsonl"))}
    pairs = lines(file_of(run, "preferences"))
    assert pairs
    for pair in pairs:
        chosen, rejected = full[pair["chosen_judged"]["id"]], full[pair["rejected_judged"]["id"]]
        assert chosen["group"] == rejected["group"]
        assert (chosen["final"]["answer"], rejected["final"]["answer"]) == ("correct", "incorrect")
        assert not chosen["final"]["is_hack"]
        assert pair["chosen"] == chosen["messages"]
        assert pair["prompt"] == [{"role": "user", "content": "7 + 8"}]
        assert pair["rejected_judged"]["earliest_wrong_step"] == 1
        assert pair["chosen_judged"]["verdicts"].keys() == {"boxed-any@1"}


def test_parquet_holds_what_the_lines_hold(queue: Queue, run: Run, ben: User) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    answer(queue, ben)
    table = parquet.read_table(BytesIO(file_of(run, "parquet")))
    rows, expected = table.to_pylist(), lines(file_of(run, "jsonl"))
    assert table.num_rows == 16
    assert table.column_names == list(expected[0])
    for row, line in zip(rows, expected, strict=True):
        messages = [{k: v for k, v in m.items() if v is not None} for m in row.pop("messages")]
        assert messages == line.pop("messages")
        assert row == line


def test_datasets_loads_both(queue: Queue, run: Run, ben: User, tmp_path: Any) -> None:
    datasets = pytest.importorskip("datasets")
    answer(queue, ben)
    for name, kind in (("jsonl", "json"), ("parquet", "parquet")):
        file = tmp_path / FORMATS[name].file_name
        file.write_bytes(file_of(run, name))
        loaded = datasets.load_dataset(
            kind, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert loaded.num_rows == 16
        assert loaded[0]["final"]["answer"] in {"correct", "incorrect"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_without_labels_gives_an_empty_file_that_can_be_read(run: Run, name: str) -> None:
    content = file_of(run, name)
    if name == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        assert parquet.read_table(BytesIO(content)).num_rows == 0
    else:
        assert content == b""


def test_hostile_text_comes_out_as_it_went_in(project: Project, ben: User) -> None:
    run = builders.make_run(project)
    builders.make_prompt(run, text=HOSTILE)
    for step in (1, 2):
        ingest.store_batch(
            run=run,
            batch=[
                builders.make_rollout(HOSTILE, step=step, group=f"{step}-{g}")
                for g in range(8)
                for _ in range(4)
            ],
        )
        ingest.finish_step(run=run, step=step)
    queue = builders.open_audit(run, budget=16, waves=1).queue
    items.commit(items.take(queue, ben), ben)
    (row,) = lines(file_of(run, "jsonl"))
    assert (row["prompt"], row["messages"][0]["content"]) == (HOSTILE, HOSTILE)
    assert len(row["steps"]) > 1


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_of_a_purged_text_goes_out(queue: Queue, run: Run, ben: User, name: str) -> None:
    answer(queue, ben)
    uids = list(run.rollouts.values_list("uid", flat=True))
    before = file_of(run, name)
    audit.purge_rollouts(run=run, uids=uids, actor="ada")
    content = file_of(run, name)
    if name == "parquet":
        pytest.importorskip("pyarrow")
    assert b"boxed{" in before or name == "parquet"
    assert b"boxed{" not in content
    if name == "jsonl":
        rows = lines(content)
        assert len(rows) == 16
        assert {(row["is_purged"], row["verdicts"][0]["extracted"]) for row in rows} == {
            (True, None)
        }


def test_what_is_held_out_stays_here_unless_asked_for(
    caller: Caller, queue: Queue, run: Run, ben: User
) -> None:
    items.commit(items.take(queue, ben), ben)
    Prompt.objects.update(split="holdout")
    path = f"runs/{run.pk}/labels"
    assert b"".join(caller.get(path).streaming_content) == b""  # type: ignore[attr-defined]
    asked = caller.get(f"{path}?holdout=true")
    assert len(lines(b"".join(asked.streaming_content))) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FORMATS)
def test_files_are_saved_and_not_opened(caller: Caller, run: Run, ada: User, name: str) -> None:
    answers = (
        caller.get(f"runs/{run.pk}/labels?format={name}"),
        signed_in(ada).get(reverse("web:labels-export", args=[run.pk]), {"format": name}),
    )
    for found in answers:
        assert found.status_code == 200
        assert found["Content-Disposition"] == f'attachment; filename="{FORMATS[name].file_name}"'
        assert found["Content-Type"] == FORMATS[name].content_type
        assert found["X-Content-Type-Options"] == "nosniff"


def test_a_format_that_there_is_not_is_refused(caller: Caller, run: Run, ada: User) -> None:
    refused(caller.get(f"runs/{run.pk}/labels?format=csv"), 400, "invalid_body", "format")
    refused(caller.get(f"runs/{run.pk}/labels?names=maybe"), 400, "invalid_body", "names")
    url = reverse("web:labels-export", args=[run.pk])
    assert signed_in(ada).get(url, {"format": "csv"}).status_code == 404


def test_labels_go_out_to_leads_alone(
    project: Project, run: Run, ada: User, ben: User, cyd: User
) -> None:
    url = reverse("web:labels-export", args=[run.pk])
    for user in (ben, cyd):
        assert signed_in(user).get(url, {"format": "jsonl"}).status_code == 404
    secret = builders.make_token(project, "label", owner=ben)
    refused(Caller(secret).get(f"runs/{run.pk}/labels"), 403, "not_allowed")
    assert url in signed_in(ada).get(reverse("web:run", args=[run.pk])).content.decode()
