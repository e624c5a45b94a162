"""What the readers make of files: of each program's, and of hostile ones."""

import json
import math
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from review.rollouts.errors import UnreadableFileError
from review.rollouts.importers import format_of, guessed_mapping, inspect_log
from review.rollouts.importers.chunks import Chunk, Chunks, rows_of
from review.rollouts.importers.mapping import ColumnMapping, SourceRow
from review.rollouts.importers.records import START, Position, Refused
from review.rollouts.models import ImportFormat
from tests import ROOT
from tests.rollouts import files
from trainer.verifiers import Outcome

PASS, FAIL, UNDECIDED = Outcome


def read(path: Path, **changes: Any) -> list[SourceRow | Refused]:
    """The file's rows, by the mapping that is guessed for it."""
    format_ = format_of(path)
    columns = ColumnMapping.parse(guessed_mapping(path, format_) | changes)
    return list(rows_of(path, format_, columns))


def good(path: Path, **changes: Any) -> list[SourceRow]:
    rows = read(path, **changes)
    assert [row for row in rows if isinstance(row, Refused)] == []
    return [row for row in rows if isinstance(row, SourceRow)]


def reasons(path: Path, **changes: Any) -> dict[int, str]:
    return {row.line: row.reason for row in read(path, **changes) if isinstance(row, Refused)}


@pytest.fixture(scope="module")
def trl_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("trl")
    subprocess.run(
        [sys.executable, "-m", "tests.rollouts.trl_completions", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return sorted((folder / "completions").glob("*.parquet"))


@pytest.mark.slow
def test_what_trl_writes_is_read(trl_files: list[Path]) -> None:
    assert [path.name for path in trl_files] == [f"completions_0000{n}.parquet" for n in (1, 2)]
    assert format_of(trl_files[1]) == ImportFormat.TRL
    rows = good(trl_files[1])
    assert len(rows) == 8
    assert {row.step for row in rows} == {2}
    first = rows[0]
    a = int(first.problem.split()[0])
    assert first.problem == f"{a} plus {a} is"
    assert first.references == (str(2 * a),)
    # The reward function gave None for every other completion.
    assert [row.verdicts[0].outcome is UNDECIDED for row in rows] == [False, True] * 4
    mapping = guessed_mapping(trl_files[1], ImportFormat.TRL)
    assert [verdict["column"] for verdict in mapping["verdicts"]] == ["half_known", "length"]
    assert mapping["group_size"] == 4


def test_groups_are_blocks_of_equal_prompts(tmp_path: Path) -> None:
    rows = files.plain_rows(groups=3)
    for row in rows[4:8]:
        row["problem"] = rows[0]["problem"]
    path = files.write_lines(tmp_path / "f", rows)
    columns = ColumnMapping.parse(guessed_mapping(path, ImportFormat.JSONL))
    assert columns.group_size == 8
    for size, expected in ((4, [4, 4, 4]), (0, [8, 4])):
        columns = ColumnMapping.parse(
            guessed_mapping(path, ImportFormat.JSONL) | {"group_size": size}
        )
        chunks = Chunks(columns, Chunk(START, START, 1)).of(
            rows_of(path, ImportFormat.JSONL, columns)
        )
        assert [len(group) for chunk in chunks for group in chunk.groups] == expected


def test_verls_verdict_is_acc_and_not_the_score_with_its_penalty(tmp_path: Path) -> None:
    path = files.write_lines(tmp_path / "f", files.verl_rows())
    assert format_of(path) == ImportFormat.VERL
    rows = good(path)
    assert [row.verdicts[0].outcome for row in rows] == [PASS, FAIL, FAIL]
    assert [row.reward for row in rows] == [0.4, -1.0, -1.0]
    assert [row.references for row in rows] == [("15",), ("15", "15.0"), ('{"t":1}',)]
    assert [row.extracted for row in rows] == ["15", "16", "17"]


def test_verls_newer_uids_name_the_group(tmp_path: Path) -> None:
    rows = [row | {"uid": f"q_1_{n}_0"} for n, row in enumerate(files.verl_rows())]
    found = good(files.write_lines(tmp_path / "f", rows))
    assert {row.group for row in found} == {"q_1"}


def test_bare_nan_is_undecided_and_json_in_gts_is_read(tmp_path: Path) -> None:
    rows = files.verl_rows(acc=math.nan, gts='["1", "2"]')
    found = good(files.write_lines(tmp_path / "f", rows))
    assert {row.verdicts[0].outcome for row in found} == {UNDECIDED}
    assert found[0].references == ("1", "2")


def test_lm_evals_filters_judge_the_same_completions(tmp_path: Path) -> None:
    path = files.write_lines(tmp_path / "f", files.lm_eval_rows("strict", "flexible"))
    assert format_of(path) == ImportFormat.LM_EVAL
    rows = good(path)
    assert [row.variant for row in rows] == ["strict", "strict", "flexible", "flexible"]
    assert [row.key for row in rows[:2]] == [row.key for row in rows[2:]]
    assert rows[0].problem == "Question: 7 + 0\nAnswer:"
    assert rows[0].messages == [{"role": "assistant", "content": "It is 7."}]
    assert [row.verdicts[0].outcome for row in rows] == [FAIL, FAIL, PASS, PASS]
    assert [row.extracted for row in rows] == ["", "", "7", "8"]


def test_of_several_responses_none_has_the_metric_of_all(tmp_path: Path) -> None:
    row = files.lm_eval_rows("none")[0] | {"resps": [["It is 7.", "It is 8."]]}
    rows = good(files.write_lines(tmp_path / "f", [row]))
    assert [row.messages[0]["content"] for row in rows] == ["It is 7.", "It is 8."]
    assert {row.verdicts[0].outcome for row in rows} == {UNDECIDED}
    assert len({row.key for row in rows}) == 2


def test_log_likelihoods_are_refused(tmp_path: Path) -> None:
    row = files.lm_eval_rows("none")[0] | {"resps": [[["-1.5", "True"]]]}
    assert "log-likelihoods" in reasons(files.write_lines(tmp_path / "f", [row]))[1]


@pytest.mark.parametrize("is_zstandard", [False, True])
def test_an_inspect_log_is_read(tmp_path: Path, is_zstandard: bool) -> None:
    samples = [
        files.inspect_sample("a_b", 1),
        files.inspect_sample(name="7", epoch=1, scores={"match": {"value": "I"}}),
        files.inspect_sample("a_b", 2, scores={"match": {"value": math.nan, "answer": "15"}}),
        files.inspect_sample(name="8", epoch=1, error={"message": "lost"}, scores={}),
    ]
    path = files.write_inspect(tmp_path / "f", samples, is_zstandard=is_zstandard)
    assert format_of(path) == ImportFormat.INSPECT
    rows = read(path)
    assert [row.group for row in rows if isinstance(row, SourceRow)] == ["a_b", "a_b", "7"]
    assert reasons(path) == {4: "the sample failed: lost"}
    first = rows[0]
    assert isinstance(first, SourceRow)
    assert first.problem == "A long problem: 7 + 8"
    assert first.references == ("15", "fifteen")
    assert [(said.outcome, said.score) for said in first.verdicts] == [
        (PASS, 1.0),
        (FAIL, 0.25),
        (UNDECIDED, None),
    ]
    assert (first.extracted, first.is_truncated, first.tokens) == ("15", True, 9)
    roles = [message["role"] for message in first.messages]
    assert roles == ["assistant", "tool", "assistant"]
    assert first.messages[0]["content"] == "<think>\nhm\n</think>\n\nLook."
    assert first.messages[0]["tool_calls"] == [
        {"name": "add", "arguments": '{"a":7,"b":8}', "id": "c1"}
    ]
    assert first.messages[1]["call_id"] == "c1"
    assert guessed_mapping(path, ImportFormat.INSPECT)["policy"] == "mockllm/model"


def test_parquet_goes_on_from_any_row(tmp_path: Path) -> None:
    path = tmp_path / "f"
    table = pa.Table.from_pylist(files.plain_rows(groups=3))
    pq.write_table(table, path, row_group_size=5)
    columns = ColumnMapping.parse(guessed_mapping(path, ImportFormat.PARQUET))
    whole = list(rows_of(path, ImportFormat.PARQUET, columns))
    for done in range(13):
        rest = rows_of(path, ImportFormat.PARQUET, columns, Position(done, done))
        assert list(rest) == whole[done:]


def test_prompts_of_several_messages_and_parts_are_read(tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "7 + 8?"}]
    completion = [{"role": "assistant", "content": [{"type": "text", "text": "15"}]}]
    rows = [{"prompt": prompt, "completion": completion, "score": True}]
    (row,) = good(files.write_lines(tmp_path / "f", rows))
    assert row.problem == "system: Be brief.\n\nuser: 7 + 8?"
    assert row.messages == [{"role": "assistant", "content": "15"}]
    assert row.verdicts[0].outcome is PASS


# Hostile contents

DEEP = b'{"problem": ' + b"[" * 1000 + b"]" * 1000 + b', "response": "x", "score": 1}'
BAD_LINES = {
    "bad UTF-8": (b'{"problem": "\xff", "response": "x", "score": 1}', "not valid UTF-8"),
    "a lone surrogate": (rb'{"problem": "\ud800", "response": "x", "score": 1}', "surrogate"),
    "a thousand levels": (DEEP.replace(b"[" * 1000, b"[" * 100_000), "nested too deep"),
    "a huge number": (b'{"problem": ' + b"9" * 5000 + b"}", "too long"),
    "an infinite score": (b'{"problem": "p", "response": "x", "score": Infinity}', "infinite"),
    "a list for a score": (b'{"problem": "p", "response": "x", "score": [1]}', "a list"),
    "no completion": (b'{"problem": "p", "score": 1}', "response: is missing"),
    "an empty problem": (b'{"problem": " ", "response": "x", "score": 1}', "problem: is empty"),
    "no object": (b"[1, 2]", "not a JSON object"),
    "half a line": (b'{"problem": "p", "resp', "not valid JSON"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_refused_with_its_reason_and_the_others_kept(
    tmp_path: Path, name: str
) -> None:
    line, reason = BAD_LINES[name]
    rows = files.plain_rows()
    path = files.write_lines(tmp_path / "f", [*rows[:4], line, b"", *rows[4:]])
    verdicts = [{"column": "score"}]
    refused = reasons(path, verdicts=verdicts)
    assert list(refused) == [5]
    assert reason in refused[5]
    found = read(path, verdicts=verdicts)
    assert sum(isinstance(row, SourceRow) for row in found) == len(rows)


def test_a_huge_line_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("review.rollouts.importers.jsonl.MOST_ROW_BYTES", 1000)
    monkeypatch.setattr("review.rollouts.importers.jsonl.SKIPPED_AT_ONCE", 64)
    long = json.dumps(files.plain_rows()[0] | {"more": "x" * 5000}).encode()
    path = files.write_lines(tmp_path / "f", [long, *files.plain_rows()])
    assert list(reasons(path)) == [1]
    assert [row.line for row in read(path)] == list(range(1, 10))


def test_nul_becomes_the_replacement_character(tmp_path: Path) -> None:
    rows = [{"problem": "a\0b", "response": "x\0", "score": 1}]
    (row,) = good(files.write_lines(tmp_path / "f", rows))
    assert (row.problem, row.messages[0]["content"]) == ("a\ufffdb", "x\ufffd")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\x80\x04\x95not for us", "no lines of JSON"),
        (b"\x1f\x8b\x08 packed", "gzip"),
        (b"PAR1 and nothing behind", "not valid Parquet"),
        (b"PK\x03\x04 and nothing behind", "not a valid zip"),
        (b"column,score\n1,2\n", "no lines of JSON"),
    ],
)
def test_a_file_of_no_format_is_refused_with_words(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=says):
        format_of(path)


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = files.write_inspect(tmp_path / "f", [files.inspect_sample()])
    content = bytearray(path.read_bytes())
    # The list of members says how large each is unpacked.
    at = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, at + 24, 0xFFFF_FFF0)
    path.write_bytes(content)
    assert "MiB" in reasons(path, verdicts=[])[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect_log, "MOST_UNPACKED_BYTES", 1_000_000)
        with pytest.raises(UnreadableFileError, match="larger than"):
            format_of(path)


def test_a_sample_of_zeros_costs_no_more_than_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_log, "MOST_SAMPLE_BYTES", 100_000)
    path = tmp_path / "f"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/x_epoch_1.json", b" " * 10_000_000)
    assert "longer than" in reasons(path, prompt="input", completion="x", verdicts=[])[1]


def test_an_archive_of_too_many_members_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.write_inspect(
        tmp_path / "f", [files.inspect_sample(epoch=n) for n in range(1, 50)]
    )
    monkeypatch.setattr(inspect_log, "MOST_DIRECTORY_BYTES", 1000)
    with pytest.raises(UnreadableFileError, match="too many"):
        format_of(path)


def test_names_inside_an_archive_are_never_paths(tmp_path: Path) -> None:
    sample = files.inspect_sample(name="../../../etc/x", epoch=1)
    path = files.write_inspect(tmp_path / "f", [sample])
    assert len(good(path)) == 1
    assert sorted(tmp_path.iterdir()) == [path]


def test_an_attachment_named_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_log, "MOST_ROW_BYTES", 100_000)
    message = {"role": "assistant", "content": "attachment://long"}
    sample = files.inspect_sample(messages=[message] * 200, attachments={"long": "x" * 1000})
    path = files.write_inspect(tmp_path / "f", [sample])
    assert "with its attachments" in reasons(path)[1]


def test_a_value_that_python_cannot_hold_refuses_its_row_alone(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 where the file says text, and a moment in the year 36,000."""
    path = tmp_path / "f.parquet"
    bad_text = pa.array([b"4", b"\xff\xfe", b"6"])
    table = {
        "prompt": pa.array(["2 + 2", "3 + 3", "3 + 3"]),
        "completion": pa.Array.from_buffers(pa.string(), 3, bad_text.buffers()),
        "at": pa.array([0, 0, 2**60], pa.timestamp("us")),
    }
    pq.write_table(pa.table(table), path)
    rows = read(path, verdicts=[])
    assert [isinstance(row, Refused) for row in rows] == [False, True, True]
    assert all("cannot be read" in reason for reason in reasons(path, verdicts=[]).values())


@pytest.mark.parametrize("levels", [60, 900])
def test_a_sample_nested_without_end_is_refused(tmp_path: Path, levels: int) -> None:
    content: object = "x"
    for _ in range(levels):
        content = [content]
    message = {"role": "assistant", "content": content}
    good_one, deep = files.inspect_sample(epoch=1), files.inspect_sample(epoch=2)
    path = files.write_inspect(tmp_path / "f", [good_one, deep | {"messages": [message]}])
    assert reasons(path) == {2: "nested too deep"}


def test_a_member_that_lies_beyond_the_end_is_refused(tmp_path: Path) -> None:
    path = files.write_inspect(tmp_path / "f", [files.inspect_sample()])
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    struct.pack_into("<H", content, at + 10, inspect_log.ZSTANDARD)
    struct.pack_into("<I", content, at + 42, len(content) - 5)
    path.write_bytes(content)
    assert "cannot be unpacked" in reasons(path, verdicts=[])[1]
