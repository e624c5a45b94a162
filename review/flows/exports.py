"""Labels out: files of what people said, in the shapes that others read.

Each is made piece by piece: a run of any size takes the same memory.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO, Literal

import msgspec
from django.utils.crypto import salted_hmac

from review.accounts.models import User
from review.core.models import record_event
from review.labeling.final_labels import LabelledRollout, labelled_rollouts
from review.labeling.models import Answer
from review.runs.models import ErratumState, Run
from review.verifiers.models import Channel

Rows = Iterator[LabelledRollout]


@dataclass(frozen=True, slots=True)
class Format:
    """A shape of file. write: the rows as pieces of the file."""

    file_name: str
    content_type: str
    write: Callable[[Rows], Iterator[bytes]]


def export_labels(
    run: Run, name: str, *, with_names: bool = False, with_holdout: bool = False, actor: object
) -> Iterator[bytes]:
    """The run's labels as pieces of a file; that they go out is recorded.

    Reviewers go by names that tell them apart and nothing else, unless with_names.
    """
    record_event(
        actor=actor,
        action="labels exported",
        subject=run,
        format=name,
        names=with_names,
        holdout=with_holdout,
    )
    return label_pieces(run, name, with_names=with_names, with_holdout=with_holdout)


def write_labels(run: Run, name: str, out: BinaryIO) -> None:
    for piece in label_pieces(run, name):
        out.write(piece)


def label_pieces(
    run: Run, name: str, *, with_names: bool = False, with_holdout: bool = False
) -> Iterator[bytes]:
    known: dict[int, str] = {}

    def name_of(user_id: int) -> str:
        if user_id not in known:
            known[user_id] = _username(user_id) if with_names else _alias(run, user_id)
        return known[user_id]

    rows = labelled_rollouts(run, name_of=name_of, with_holdout=with_holdout)
    return FORMATS[name].write(rows)


def _username(user_id: int) -> str:
    return User.objects.get(pk=user_id).username


def _alias(run: Run, user_id: int) -> str:
    """The same in every file of the project, and of no use elsewhere."""
    digest = salted_hmac("reviewer in an export", f"{run.project_id} {user_id}").hexdigest()
    return f"reviewer-{digest[:10]}"


PIECE = 1 << 20


def _lines(structs: Iterable[msgspec.Struct]) -> Iterator[bytes]:
    """One JSON object a line."""
    encoder, piece = msgspec.json.Encoder(), bytearray()
    for struct in structs:
        piece += encoder.encode(struct)
        piece += b"\n"
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _parquet(rows: Rows) -> Iterator[bytes]:
    # Here alone: it takes a second and 100 MB that nothing else needs.
    from review.flows.parquet import parquet_pieces

    return parquet_pieces(rows)


class ProcessBenchRow(msgspec.Struct):
    """As Qwen/ProcessBench has them: label is the earliest wrong step from 0, -1 for none."""

    id: str
    generator: str
    problem: str
    steps: list[str]
    final_answer_correct: bool
    label: int


def _process_bench(rows: Rows) -> Iterator[ProcessBenchRow]:
    for row in rows:
        final = row.final
        if final is None or not row.is_decided or row.is_purged or _is_step_unsaid(row):
            continue
        yield ProcessBenchRow(
            id=row.id,
            # Whose it is would tell what to expect of it.
            generator="",
            problem=row.prompt,
            steps=row.step_texts(),
            final_answer_correct=final.answer == Answer.CORRECT,
            label=(final.earliest_wrong_step or 0) - 1,
        )


def _is_step_unsaid(row: LabelledRollout) -> bool:
    final = row.final
    return final is None or (final.earliest_wrong_step is None and not final.no_wrong_step)


class Completion(msgspec.Struct):
    text: str
    rating: int
    flagged: bool | None = None


class StepLabel(msgspec.Struct):
    completions: list[Completion]
    chosen_completion: int | None
    human_completion: str | None = None


class Question(msgspec.Struct):
    problem: str
    ground_truth_answer: str | None
    pre_generated_steps: list[str]
    pre_generated_answer: str | None


class StepLabels(msgspec.Struct):
    steps: list[StepLabel]
    total_time: int | None
    finish_reason: Literal["found_error", "solution", "bad_problem", "give_up"]


class Prm800kRow(msgspec.Struct):
    """As openai/prm800k has them; what comes after the first wrong step is not labelled."""

    id: str
    labeler: str | None
    timestamp: str | None
    is_quality_control_question: bool
    question: Question
    label: StepLabels
    generation: int | None = None
    is_initial_screening_question: bool = False


def _prm800k(rows: Rows) -> Iterator[Prm800kRow]:
    for row in rows:
        if row.final is None or row.is_purged:
            continue
        label = _step_labels(row)
        if label is None:
            continue
        author = row.labels[0] if len(row.labels) == 1 and not row.adjudication else None
        yield Prm800kRow(
            id=row.id,
            labeler=author.reviewer if author else None,
            timestamp=author.at if author else None,
            is_quality_control_question=row.gold is not None,
            question=Question(
                problem=row.prompt,
                ground_truth_answer=row.references[0] if row.references else None,
                pre_generated_steps=row.step_texts(),
                pre_generated_answer=_extracted(row),
            ),
            label=label,
        )


def _extracted(row: LabelledRollout) -> str | None:
    """The answer that the primary verifier read."""
    judges = (said for said in row.verdicts if said.channel == Channel.CORRECTNESS)
    primary = next(judges, None)
    return primary.extracted if primary else None


def _step_labels(row: LabelledRollout) -> StepLabels | None:
    """None: nothing is said of its steps."""
    final = row.final
    if final is None:
        return None
    times = [label.active_ms for label in row.labels if label.active_ms is not None]
    time = sum(times) if times else None
    texts = row.step_texts()
    if final.problem_fault:
        return StepLabels([], time, "bad_problem")
    if not row.is_decided:
        return StepLabels([], time, "give_up")
    if final.no_wrong_step:
        return StepLabels([_right(text) for text in texts], time, "solution")
    if final.earliest_wrong_step is None:
        return None
    *before, wrong = texts[: final.earliest_wrong_step]
    steps = [*(_right(text) for text in before), StepLabel([Completion(wrong, -1)], None)]
    return StepLabels(steps, time, "found_error")


def _right(text: str) -> StepLabel:
    return StepLabel([Completion(text, 1)], 0)


class Judged(msgspec.Struct):
    """One side of a pair: what verifiers and people said of it."""

    id: str
    answer: str
    earliest_wrong_step: int | None
    is_hack: bool | None
    verdicts: dict[str, str]
    reward: float | None


class PreferenceRow(msgspec.Struct):
    """Of one group: a right answer before a wrong one. Messages as trainers of preferences read
    them, so that `datasets` loads the file for them as it is."""

    prompt: list[dict[str, str]]
    chosen: msgspec.Raw
    rejected: msgspec.Raw
    references: list[str]
    broken: list[str]
    chosen_judged: Judged
    rejected_judged: Judged


def _preferences(rows: Rows) -> Iterator[PreferenceRow]:
    """Each wrong rollout beside a right one of its group, and none of them more often than needed.

    A right answer that is a hack is nobody's example.
    """
    for _, group in groupby(rows, key=lambda row: (row.audit, row.group)):
        judged = [row for row in group if row.final and row.is_decided and not row.is_purged]
        right = [row for row in judged if _is_right(row)]
        wrong = [row for row in judged if row.final and row.final.answer == Answer.INCORRECT]
        if right and wrong:
            for pair in range(max(len(right), len(wrong))):
                yield _pair(right[pair % len(right)], wrong[pair % len(wrong)])


def _is_right(row: LabelledRollout) -> bool:
    return row.final is not None and row.final.answer == Answer.CORRECT and not row.final.is_hack


def _pair(chosen: LabelledRollout, rejected: LabelledRollout) -> PreferenceRow:
    upheld = [erratum for erratum in chosen.errata if erratum.state == ErratumState.UPHELD]
    return PreferenceRow(
        prompt=[{"role": "user", "content": chosen.prompt}],
        chosen=chosen.messages,
        rejected=rejected.messages,
        references=chosen.references,
        broken=[erratum.fault for erratum in upheld],
        chosen_judged=_judged(chosen),
        rejected_judged=_judged(rejected),
    )


def _judged(row: LabelledRollout) -> Judged:
    final = row.final
    return Judged(
        id=row.id,
        answer=final.answer if final else "",
        earliest_wrong_step=final.earliest_wrong_step if final else None,
        is_hack=final.is_hack if final else None,
        verdicts={verdict.verifier: verdict.outcome for verdict in row.verdicts},
        reward=row.reward,
    )


LINES = "application/x-ndjson"
FORMATS = {
    "jsonl": Format("labels.jsonl", LINES, _lines),
    "parquet": Format("labels.parquet", "application/vnd.apache.parquet", _parquet),
    "processbench": Format("processbench.jsonl", LINES, lambda rows: _lines(_process_bench(rows))),
    "prm800k": Format("prm800k.jsonl", LINES, lambda rows: _lines(_prm800k(rows))),
    "preferences": Format("preferences.jsonl", LINES, lambda rows: _lines(_preferences(rows))),
}
