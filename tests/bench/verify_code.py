"""How many completions the code verifier judges in a second, beside a plain loop without a sandbox.

The loop is what many trainers do: `subprocess.run` of the interpreter (the verifier's, with its
options) with the test on standard input, one after the other, unprotected. Both judge the same
completions, in turn, in one process.
"""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from trainer.verifiers import Item, Outcome, build
from trainer.verifiers.code.languages import LANGUAGES
from trainer.verifiers.code.sandbox import SandboxUnavailableError, find_sandbox

WORKERS = 2
TESTS = 5
# Half of the programs are right, and half fail at their first test.
RIGHT = "n = int(input())\nprint(sum(i * i for i in range(1, n + 1)))"
WRONG = "n = int(input())\nprint(n)"


@dataclass(frozen=True)
class CodeThroughput:
    """Completions a second, medians over the rounds. verifier: in the sandbox; loop: without."""

    verifier: float
    loop: float

    @property
    def line(self) -> str:
        return (
            f"{'code':14}{self.verifier:>14.1f}{self.loop:>14.1f}{self.verifier / self.loop:>9.2f}"
        )


HEAD = f"{'verifier':14}{'completions/s':>14}{'plain loop/s':>14}{'ratio':>9}"


def code_throughput(*, completions: int = 40, rounds: int = 3) -> CodeThroughput | None:
    """The verifier with two workers against the loop, half of the programs right, five tests each.

    None where no sandbox can be had.
    """
    try:
        find_sandbox()
    except SandboxUnavailableError:
        return None
    items = _items(completions)
    expected = [Outcome.PASS if number % 2 else Outcome.FAIL for number in range(completions)]
    verifier = build("code", workers=WORKERS)

    def verified() -> list[Outcome]:
        return [verdict.outcome for verdict in verifier.verify(items)]

    pairs = [
        (_rate(verified, expected), _rate(lambda: list(map(_plain_outcome, items)), expected))
        for _ in range(rounds)
    ]
    return CodeThroughput(*map(median, zip(*pairs, strict=True)))


def _items(completions: int) -> list[Item]:
    numbers = [10 * (number + 1) for number in range(TESTS)]
    reference = json.dumps(
        {
            "inputs": [f"{n}\n" for n in numbers],
            "outputs": [f"{n * (n + 1) * (2 * n + 1) // 6}\n" for n in numbers],
        }
    )
    codes = [RIGHT if number % 2 else WRONG for number in range(completions)]
    return [Item("Sum squares.", f"```python\n{code}\n```", (reference,)) for code in codes]


def _rate(judge: Callable[[], list[Outcome]], expected: list[Outcome]) -> float:
    started = time.perf_counter()
    found = judge()
    seconds = time.perf_counter() - started
    if found != expected:
        raise RuntimeError("the programs were not judged as they are")
    return len(expected) / seconds


def _plain_outcome(item: Item) -> Outcome:
    code = item.response.removeprefix("```python\n").removesuffix("\n```")
    interpreter = LANGUAGES["python"].command[:-1]
    tests = json.loads(item.references[0])
    for given, wanted in zip(tests["inputs"], tests["outputs"], strict=True):
        ran = subprocess.run(
            [*interpreter, "-c", code], input=given, capture_output=True, text=True, check=False
        )
        if ran.stdout != wanted:
            return Outcome.FAIL
    return Outcome.PASS
