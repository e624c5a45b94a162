import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.sandboxes import needs_sandbox
from trainer.verifiers import Item, Outcome, ParameterError, Verdict, build
from trainer.verifiers.code.cases import CasesError, Text, Value, suite_of
from trainer.verifiers.code.extraction import solution_of
from trainer.verifiers.code.languages import LANGUAGES

SUMS = {"inputs": ["1 2\n", "3 4\n", "-5 5\n"], "outputs": ["3\n", "7\n", "0\n"]}
ADDS = "a, b = map(int, input().split())\nprint(a + b)"
CALLS = {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]}
PYTHON_FENCES = LANGUAGES["python"].fences


def fenced(code: str, language: str = "python") -> str:
    return f"Here it is:\n\n```{language}\n{code}\n```\n"


def verdicts_on(
    responses: Sequence[str], reference: dict[str, Any] | str, **params: object
) -> list[Verdict]:
    text = reference if isinstance(reference, str) else json.dumps(reference)
    return build("code", **params).verify(
        [Item("Write it.", response, (text,)) for response in responses]
    )


def verdict_on(response: str, reference: dict[str, Any] | str = SUMS, **params: object) -> Verdict:
    (verdict,) = verdicts_on([response], reference, **params)
    return verdict


def shown(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.outcome, verdict.path, verdict.form


# Right solutions


@needs_sandbox
def test_a_right_program_passes() -> None:
    verdict = verdict_on(fenced(ADDS))
    assert shown(verdict) == ("pass", "fenced", "passed")
    assert (verdict.extracted, verdict.candidates) == (ADDS + "\n", 1)
    assert (verdict.score, verdict.detail) == (None, "")
    assert verdict.seconds > 0


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "reference"),
    [
        ("def add(a, b):\n    return a + b", CALLS),
        ("class Solution:\n    def add(self, a, b):\n        return a + b", CALLS),
        ("print('noise')\ndef add(a, b):\n    print('more')\n    return a + b", CALLS),
        ("def add(a, b):\n    return a + b\nif __name__ == '__main__':\n    print(input())", CALLS),
        ("def add(a, b): return a + b", {**CALLS, "outputs": [[3], [7]]}),
        (
            "def add(a, b): return a + b",
            {"fn_name": "add", "inputs": ["1\n2", '"a"\n"b"'], "outputs": ["3", '"ab"']},
        ),
        (
            "def f(x): return {'a': (x, x / 3), 'b': None, 'c': True, 'd': '\u00e9\U0001f600'}",
            {
                "fn_name": "f",
                "inputs": [[1]],
                "outputs": [{"a": [1, 0.333333333], "b": None, "c": True, "d": "\u00e9\U0001f600"}],
            },
        ),
        ("def f(x): return [x]", {"fn_name": "f", "inputs": [[1]], "outputs": [[1]]}),
        ("print(1 / 3)", {"inputs": [""], "outputs": ["0.33333333"]}),
        ("print(f'{2:.3f}')", {"inputs": [""], "outputs": ["2.0"]}),
        ("print(input()[::-1])", {"inputs": ["\u00e4\U0001f600"], "outputs": ["\U0001f600\u00e4"]}),
        ("print('x' * 3_000_000)", {"inputs": ["a"], "outputs": ["x" * 3_000_000]}),
        ("print(len(input()))", {"inputs": ["y" * 3_000_000], "outputs": ["3000000"]}),
        ("print('a  b \\n\\nc\\n\\n')", {"inputs": [""], "outputs": ["a b\n\nc"]}),
        ("print(input(), input())", {"inputs": [["a", 2]], "outputs": [["a 2"]]}),
        ("import sys\nprint(sum(map(int, sys.stdin)))", {"inputs": ["1\n2\n"], "outputs": [3]}),
        ("print('done')\nexit()", {"inputs": [""], "outputs": ["done"]}),
        (
            "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 26)\n"
            "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
            "t = threading.Thread(target=lambda: print(f(50_000)))\nt.start()\nt.join()",
            {"inputs": [""], "outputs": ["50000"]},
        ),
        (
            "import collections, heapq, math, random, re, itertools, functools, dataclasses\n"
            "@dataclasses.dataclass\nclass P:\n    x: int\nprint(P(math.comb(5, 2)).x)",
            {"inputs": [""], "outputs": ["10"]},
        ),
    ],
    ids=range(19),
)
def test_right_solutions_pass(code: str, reference: dict[str, Any]) -> None:
    verdict = verdict_on(fenced(code), reference)
    assert (verdict.outcome, verdict.detail) == (Outcome.PASS, "")


@needs_sandbox
def test_hashes_are_the_same_each_time_so_that_a_verdict_can_be_had_again() -> None:
    code = "import sys\nprint(sys.flags.hash_randomization)"
    verdict = verdict_on(fenced(code), {"inputs": [""], "outputs": ["0"]})
    assert verdict.outcome is Outcome.PASS


# Wrong ones, and whose fault it is


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "form", "detail"),
    [
        ("print(3)", "wrong", "test 2 of 3: wrong output"),
        ("pass", "silent", "test 1 of 3: no output"),
        ("1 / 0", "crash", "test 1 of 3: exit code 1: ZeroDivisionError: division by zero"),
        (ADDS + "\n1 / 0", "crash", "test 1 of 3: exit code 1: ZeroDivisionError"),
        ("def", "crash", "test 1 of 3: exit code 1: SyntaxError: invalid syntax"),
        ("print('\\0' \0)", "crash", "null bytes"),
        ("# \ud800", "crash", "SyntaxError"),
        ("import os; os.abort()", "crash", "test 1 of 3: exit code 134"),
        ("while True: pass", "timeout", "test 1 of 3: stopped: timeout"),
        ("x = bytearray(1 << 40)", "crash", "MemoryError"),
        ("print('x' * 2_000_000)", "output", "test 1 of 3: stopped: output"),
        ("while True: print('x' * 1000)", "output", "test 1 of 3: stopped: output"),
    ],
    ids=range(12),
)
def test_what_a_solution_does_is_its_own_fault(code: str, form: str, detail: str) -> None:
    verdict = verdict_on(fenced(code), timeout_seconds=0.6)
    assert shown(verdict) == ("fail", "fenced", form)
    assert detail in verdict.detail


@needs_sandbox
def test_the_expected_output_is_not_in_the_detail() -> None:
    reference = {"inputs": [""], "outputs": ["swordfish"]}
    assert "swordfish" not in repr(verdict_on(fenced("print('x')"), reference))


@needs_sandbox
def test_without_code_a_response_fails() -> None:
    verdict = verdict_on("```text\nNo idea.\n```")
    assert shown(verdict) == ("fail", "none", "none")
    assert (verdict.extracted, verdict.candidates) == (None, 0)


@needs_sandbox
def test_without_fences_the_whole_response_is_the_solution() -> None:
    assert shown(verdict_on(ADDS)) == ("pass", "bare", "passed")


@needs_sandbox
def test_after_the_first_failure_no_test_is_run() -> None:
    slow = "import time\ntime.sleep(60)"
    started = time.monotonic()
    verdict = verdict_on(fenced(slow), timeout_seconds=0.5)
    assert "test 1 of 3" in verdict.detail
    assert time.monotonic() - started < 10


@needs_sandbox
def test_the_score_is_the_share_of_tests_passed_where_all_are_run() -> None:
    partly = "a, b = map(int, input().split())\nprint(abs(a) + b)"
    verdict = verdict_on(fenced(partly), stop_at_first_failure=False)
    assert (verdict.outcome, verdict.score) == (Outcome.FAIL, 2 / 3)
    assert verdict.detail == "test 3 of 3: wrong output"


# References


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("", "reference: must be JSON"),
        ("[" * 100_000, "reference: must be JSON"),
        ("[]", "reference: must be a JSON object"),
        ("{}", "inputs: must be a list"),
        ({"inputs": []}, "inputs: must be a list with something in it"),
        ({"inputs": ["1"]}, "outputs: must be a list"),
        ({"inputs": ["1"], "outputs": ["1", "2"]}, "outputs: must be as many as inputs: 2 for 1"),
        ({"inputs": [{}], "outputs": ["1"]}, "inputs[0]: must be a text"),
        ({"inputs": ["1", "2"], "outputs": ["1", None]}, "outputs[1]: must be a text"),
        ({"inputs": ["1"], "outputs": [True]}, "outputs[0]: must be a text"),
        ({"inputs": ["1"], "outputs": [" \n"]}, "outputs: must not all be empty"),
        ({**CALLS, "fn_name": "os.system"}, "fn_name: must be the name"),
        ({**CALLS, "fn_name": 3}, "fn_name: must be the name"),
        ({**CALLS, "inputs": [3, 4]}, "inputs[0]: must be a list of arguments"),
        ({**CALLS, "inputs": ["1\n2", "3\n{"]}, "inputs[1]: must be JSON"),
        ({**CALLS, "inputs": ["1", "2"], "outputs": ["1", "a"]}, "outputs[1]: must be JSON"),
        ({**CALLS, "outputs": [None, None]}, "outputs: must not all be empty"),
        ({**SUMS, "timeout": 3}, "timeout: unknown field"),
    ],
    ids=range(18),
)
def test_a_reference_without_tests_names_the_field(
    reference: dict[str, Any] | str, says: str
) -> None:
    text = reference if isinstance(reference, str) else json.dumps(reference)
    with pytest.raises(CasesError) as caught:
        suite_of(text)
    assert str(caught.value).startswith(says)


@needs_sandbox
def test_an_item_whose_tests_cannot_be_run_is_undecided_and_its_neighbours_keep_theirs() -> None:
    references = [(json.dumps(SUMS),), ("{",), (), ("{}", "{}"), (json.dumps(CALLS),)]
    verdicts = build("code").verify([Item("", fenced(ADDS), given) for given in references])
    assert [verdict.outcome for verdict in verdicts] == [
        "pass",
        "undecided",
        "undecided",
        "undecided",
        "fail",
    ]
    assert [verdict.detail.split(":")[0] for verdict in verdicts[1:4]] == [
        "reference",
        "the prompt has no reference",
        "references",
    ]


def test_the_tests_of_a_null_function_name_are_programs() -> None:
    assert suite_of(json.dumps({**SUMS, "fn_name": None})).fn_name is None


# Comparison


@pytest.mark.parametrize(
    ("output", "text", "is_right"),
    [
        (b"1 2\n3", "1 2\n3\n", True),
        (b"1 2\r\n3\r\n", "1  2\n3", True),
        (b"1\n2\n3", "1 2\n3", False),
        (b"\n\n1", "1", True),
        (b"1\n\n2", "1\n2", False),
        (b"yes", "YES", False),
        (b"0.5000001", "0.5", True),
        (b"0.51", "0.5", False),
        (b"1e3", "1000.0", True),
        (b"3.0", "3", False),
        (b"10000001", "10000000", False),
        (b"nan", "nan", True),
        (b"nan", "0.5", False),
        (b"inf", "1e999", False),
        (b"1e999", "1e998", False),
        (b"1_0.0", "10.0", False),
        ("\u0661.5".encode(), "1.5", False),
        (b"\xff", "\ufffd", False),
        (b"1.5 " * 3, "1.5 1.5", False),
    ],
)
def test_standard_output_is_compared_by_words(output: bytes, text: str, is_right: bool) -> None:
    assert Text(text).accepts(output, 1e-6) is is_right


@pytest.mark.parametrize(
    ("output", "value", "is_right"),
    [
        (b"5", 5, True),
        (b"5.0", 5, True),
        (b"5.0000000001", 5, False),
        (b"5.0000000001", 5.0, True),
        (b"true", 1, False),
        (b"1", True, False),
        (b'"5"', 5, False),
        (b"[1, [2]]", [1, [2]], True),
        (b"[1, 2]", [1, 2, 3], False),
        (b'{"a": 1}', {"a": 1}, True),
        (b'{"a": 1}', {"a": 1, "b": 2}, False),
        (b'{"a": 1}', ["a"], False),
        (b"null", None, True),
        (b"NaN", 1.0, False),
        (b"Infinity", 1e308, False),
        (b"1" * 400, 0.5, False),
        (b"1" * 5000, 1, False),
        (b"3\n3", 3, False),
        (b"", 3, False),
        (b"\xff", 3, False),
        (b"[" * 100_000, [], False),
        (b"[" * 900 + b"]" * 900, json.loads("[" * 900 + "]" * 900), True),
    ],
)
def test_values_are_compared_as_json(output: bytes, value: Any, is_right: bool) -> None:
    assert Value((value,)).accepts(output, 1e-6) is is_right


def test_only_where_every_output_is_a_list_of_one_is_it_taken_for_wrapped() -> None:
    inputs = [[1], [2]]
    mixed = suite_of(json.dumps({"fn_name": "f", "inputs": inputs, "outputs": [[1], [2, 3]]}))
    assert not mixed.cases[0].expected.accepts(b"1", 0.0)
    wrapped = suite_of(json.dumps({"fn_name": "f", "inputs": inputs, "outputs": [[1], [2]]}))
    assert wrapped.cases[0].expected.accepts(b"1", 0.0)
    assert wrapped.cases[0].expected.accepts(b"[1]", 0.0)


# Extraction


@pytest.mark.parametrize(
    ("response", "code", "path", "candidates"),
    [
        ("", None, "none", 0),
        (" \n", None, "none", 0),
        ("x = 1", "x = 1", "bare", 1),
        ("```\nx\n```", "x\n", "fenced", 1),
        ("```Python3 title=a\nx\n```", "x\n", "fenced", 1),
        ("```{.python}\nx\n```", "x\n", "fenced", 1),
        ("~~~py\nx\n~~~", "x\n", "fenced", 1),
        ("```python\nx\n", "x\n\n", "fenced", 1),
        ("```python\nx\n```\n```python\ny\n```", "y\n", "fenced", 2),
        ("```python\nx\n```\n```python\nx\n```", "x\n", "fenced", 1),
        ("```python\nx\n```\n```output\n3\n```", "x\n", "fenced", 1),
        ("```java\nx\n```", None, "none", 0),
        ("```python\n\n```", None, "none", 0),
        ("````python\n```\nx\n````", "```\nx\n", "fenced", 1),
        ("1. so\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y\n", "fenced", 1),
        ("<think>```python\nx\n```</think>\n```python\ny\n```", "y\n", "fenced", 1),
        ("<think>```python\nx\n```</think> None.", " None.", "bare", 1),
        ("<think>so\n```python\nx\n```\n", None, "none", 0),
        ("<think>a</think>\n```\nx\n```\n<think>\n```\ny\n```", "x\n", "fenced", 1),
        ("<think>a</think>\n```\nx\n```\n<THINKING>\n```\ny\n```", "x\n", "fenced", 1),
        ("```\ny\n```\n</think>\n```\nx\n```", "x\n", "fenced", 1),
        ("```\nprint('</think>')\n```", "print('</think>')\n", "fenced", 1),
        ("```\nprint('<think>')\n```\nDone.", "print('<think>')\n", "fenced", 1),
        (
            "<think>\n```\nprint('</think>')\n```\n</think>\n```\nx\n```",
            *("x\n", "fenced", 1),
        ),
        # A draft that was left off, its fence still open.
        ("<think>\n```python\ny\n</think>\n```python\nx\n```", "x\n", "fenced", 1),
        ("```python\ny\n</think>\n```python\nx\n```", "x\n", "fenced", 1),
        ("So: <think>a</think>```python\nx\n```", "x\n", "fenced", 1),
        ("`x` and ```y``` z", "`x` and ```y``` z", "bare", 1),
    ],
)
def test_the_last_fenced_block_is_the_solution(
    response: str, code: str | None, path: str, candidates: int
) -> None:
    found = solution_of(response, PYTHON_FENCES)
    assert (found.code, found.path, found.candidates) == (code, path, candidates)


@pytest.mark.parametrize(
    "piece",
    [
        "```\n",
        "`",
        "~~~ a\n",
        "    ```\n",
        "```python\nx\n",
        "\r",
        " ",
        "a<think>b</think>",
        "```</think>\n",
    ],
)
def test_a_hostile_megabyte_is_searched_in_linear_time(piece: str) -> None:
    started = time.perf_counter()
    solution_of(piece * (1_000_000 // len(piece)), PYTHON_FENCES)
    assert time.perf_counter() - started < 10


# Parameters


@pytest.mark.parametrize(
    "params",
    [
        {"language": "cobol"},
        {"language": ["python"]},
        {"timeout_seconds": 0},
        {"timeout_seconds": 61},
        {"timeout_seconds": "5"},
        {"timeout_seconds": float("nan")},
        {"timeout_seconds": True},
        {"memory_mb": 63},
        {"memory_mb": 100.5},
        {"float_tolerance": 0.1},
        {"float_tolerance": -1e-9},
        {"stop_at_first_failure": 1},
        {"unsandboxed": "yes"},
        {"workers": 0},
        {"workers": 1000},
        {"retries": 3},
    ],
    ids=str,
)
def test_a_parameter_out_of_range_is_refused_by_name(params: dict[str, object]) -> None:
    (name,) = params
    with pytest.raises(ParameterError, match=f"^{name}: "):
        build("code", **params)


@needs_sandbox
def test_workers_are_no_part_of_the_version() -> None:
    assert build("code", workers=1).version == build("code").version == "2"
    assert build("code", timeout_seconds=5).version != "1"


# Batches


@needs_sandbox
def test_verdicts_keep_their_order_whatever_their_neighbours_do() -> None:
    kinds = [
        (fenced(ADDS), "passed"),
        (fenced("while True: pass"), "timeout"),
        (fenced("import os; os.kill(os.getppid(), 9); os.kill(-1, 9)"), "crash"),
        (fenced("x = b'x' * (1 << 40)"), "crash"),
        ("x" * 1_000_000, "crash"),
        (fenced("print(3)"), "wrong"),
        ("", "none"),
    ]
    responses = [response for response, _ in kinds] * 2
    verdicts = verdicts_on(responses, SUMS, timeout_seconds=0.8, workers=4)
    assert [verdict.form for verdict in verdicts] == [form for _, form in kinds] * 2


@needs_sandbox
def test_a_sandbox_that_does_not_start_leaves_the_item_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verifier = build("code")
    monkeypatch.setattr("trainer.verifiers.code.supervision.START_SECONDS", 0.0)
    (verdict,) = verifier.verify([Item("", fenced(ADDS), (json.dumps(SUMS),))])
    assert shown(verdict) == ("undecided", "none", "no-sandbox")
    assert verdict.detail.startswith("no sandbox: ")


@needs_sandbox
def test_an_empty_batch_has_no_verdicts() -> None:
    assert build("code").verify([]) == []


@needs_sandbox
def test_one_verifier_serves_many_threads() -> None:
    verifier = build("code", workers=2)
    items = [Item("", fenced(ADDS), (json.dumps(SUMS),)), Item("", "", (json.dumps(SUMS),))]
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(verifier.verify, [items] * 4))
    assert [[verdict.outcome for verdict in batch] for batch in batches] == [["pass", "fail"]] * 4
