"""The verifier itself: runs a solution on its tests, one sandbox each, and makes the verdict."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore
from typing import ClassVar

from trainer.verifiers.base import (
    Item,
    Outcome,
    ParameterError,
    Verdict,
    undecided,
    version_of,
)
from trainer.verifiers.code.cases import Case, CasesError, Suite, suite_of
from trainer.verifiers.code.extraction import Extracted, solution_of
from trainer.verifiers.code.languages import LANGUAGES, Language
from trainer.verifiers.code.sandbox import (
    Runner,
    SandboxUnavailableError,
    Unsandboxed,
    find_sandbox,
)
from trainer.verifiers.code.supervision import (
    MEBIBYTE,
    Ended,
    Ending,
    Limits,
    SandboxError,
    last_line,
)

# The form of a verdict says how the tests went; of a failed one, what was wrong with the first that
# failed. Used-up limits go by the name of their `Ending`.
PASSED, WRONG, SILENT, CRASH = "passed", "wrong", "silent", "crash"
NO_SANDBOX = "no-sandbox"

_MOST_SECONDS = 60.0
_LEAST_MEMORY_MB, _MOST_MEMORY_MB = 64, 16_384
_MOST_TOLERANCE = 0.01
_MOST_WORKERS = 256


@dataclass(frozen=True, slots=True)
class Record:
    """What the parent saw of one test. flaw: None if it was passed, else a form of verdicts."""

    flaw: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Code:
    """Passes when the solution passes every test of the reference.

    language: a key of `LANGUAGES`. timeout_seconds: wall clock for each test. memory_mb: MiB for
    each test. float_tolerance: relative and absolute, for expected numbers with a fraction.
    stop_at_first_failure: leave out the tests after it; if not, the score is the share of passed
    tests. workers: the most tests that run at once; None = a processor each.

    Where no sandbox can be had it cannot be built: a run that starts with it fails at once, not
    verdict by verdict. unsandboxed: run solutions without one, with this user's rights; the path
    and the detail of every verdict then say so.
    """

    language: str = "python"
    timeout_seconds: float = 10.0
    memory_mb: int = 1024
    float_tolerance: float = 1e-6
    stop_at_first_failure: bool = True
    unsandboxed: bool = False
    workers: int | None = field(default=None, compare=False)
    _runner: Runner = field(init=False, compare=False, repr=False)
    _slots: BoundedSemaphore = field(init=False, compare=False, repr=False)

    name: ClassVar[str] = "code"
    channel: ClassVar[str] = "correctness"
    # Of what is no number it leaves the text as it is: programs are equal that are the same text.
    normaliser: ClassVar[str] = "number-1"

    def __post_init__(self) -> None:
        if not isinstance(self.language, str) or self.language not in LANGUAGES:
            known = ", ".join(LANGUAGES)
            raise ParameterError(f"language: {self.language!r} is unknown; known: {known}")
        _check_range("timeout_seconds", self.timeout_seconds, 0.1, _MOST_SECONDS)
        _check_range("memory_mb", self.memory_mb, _LEAST_MEMORY_MB, _MOST_MEMORY_MB, whole=True)
        _check_range("float_tolerance", self.float_tolerance, 0.0, _MOST_TOLERANCE)
        for name in ("stop_at_first_failure", "unsandboxed"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterError(f"{name}: must be true or false")
        if self.workers is not None:
            _check_range("workers", self.workers, 1, _MOST_WORKERS, whole=True)
        object.__setattr__(self, "_runner", _runner(unsandboxed=self.unsandboxed))
        object.__setattr__(self, "_slots", BoundedSemaphore(self._width))

    @property
    def version(self) -> str:
        return version_of(self, "2")

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; the tests of different items run side by side.

        Undecided are an item whose reference holds no tests and one that no sandbox could be
        started for: what a solution does, whatever it uses up, is its own fault.
        """
        if not batch:
            return []
        with ThreadPoolExecutor(min(self._width, len(batch)), "code-verifier") as pool:
            verdicts = list(pool.map(self._verify_item, batch))
        return verdicts if self._runner.is_sandbox else list(map(_marked_unsandboxed, verdicts))

    @property
    def _width(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def _language(self) -> Language:
        return LANGUAGES[self.language]

    def _verify_item(self, item: Item) -> Verdict:
        if not item.references:
            return undecided("the prompt has no reference")
        if len(item.references) > 1:
            return undecided("references: must be one JSON text with all tests")
        try:
            suite = suite_of(item.references[0])
        except CasesError as error:
            return undecided(str(error))
        if suite.fn_name and self._language.calls is None:
            return undecided(f"fn_name: functions in {self.language} cannot be called")
        solution = solution_of(item.response, self._language.fences)
        if solution.code is None:
            return Verdict(Outcome.FAIL, None, None, "none", "none", 0, 0.0, "no code was found")
        return self._verify_solution(solution, suite)

    def _verify_solution(self, solution: Extracted, suite: Suite) -> Verdict:
        records: list[Record] = []
        seconds = 0.0
        for case in suite.cases:
            try:
                ended = self._run(solution.code or "", case, calls=suite.fn_name is not None)
            except (SandboxError, OSError) as error:
                return undecided(f"no sandbox: {error}", seconds=seconds, form=NO_SANDBOX)
            seconds += ended.seconds
            records.append(_record(ended, case, self.float_tolerance))
            if records[-1].flaw and self.stop_at_first_failure:
                break
        return self._verdict(solution, suite, records, seconds)

    def _run(self, code: str, case: Case, *, calls: bool) -> Ended:
        language = self._language
        files = {language.file_name: code.encode("utf-8", "surrogatepass")}
        with self._slots:
            return self._runner.run(
                language.call_command if calls else language.command,
                stdin=case.stdin,
                files={**files, **language.caller()} if calls else files,
                environment=language.environment,
                limits=Limits(
                    seconds=self.timeout_seconds,
                    memory_bytes=self.memory_mb * MEBIBYTE,
                    output_bytes=case.output_bytes,
                ),
            )

    def _verdict(
        self, solution: Extracted, suite: Suite, records: Sequence[Record], seconds: float
    ) -> Verdict:
        """A pass wants a record without a flaw for every test there is."""
        tests = len(suite.cases)
        passed = sum(record.flaw is None for record in records)
        failed = next(
            ((number, record) for number, record in enumerate(records, 1) if record.flaw), None
        )
        is_passed = failed is None and passed == tests
        return Verdict(
            outcome=Outcome.PASS if is_passed else Outcome.FAIL,
            score=None if self.stop_at_first_failure else passed / tests,
            extracted=solution.code,
            path=solution.path,
            form=failed[1].flaw or PASSED if failed else PASSED,
            candidates=solution.candidates,
            seconds=seconds,
            detail=f"test {failed[0]} of {tests}: {failed[1].note}" if failed else "",
        )


def _record(ended: Ended, case: Case, tolerance: float) -> Record:
    if ended.ending is not Ending.EXITED:
        return Record(ended.ending.value, f"stopped: {ended.ending}")
    if ended.exit_code != 0:
        said = last_line(ended.stderr)
        return Record(CRASH, f"exit code {ended.exit_code}" + (f": {said}" if said else ""))
    if case.expected.accepts(ended.stdout, tolerance):
        return Record(None, "")
    return Record(WRONG, "wrong output") if ended.stdout.strip() else Record(SILENT, "no output")


def _runner(*, unsandboxed: bool) -> Runner:
    try:
        return Unsandboxed() if unsandboxed else find_sandbox()
    except SandboxUnavailableError as error:
        advice = "" if unsandboxed else "; true runs solutions with this user's rights"
        raise ParameterError(f"unsandboxed: no sandbox can be had: {error}{advice}") from error


def _marked_unsandboxed(verdict: Verdict) -> Verdict:
    detail = f"unsandboxed; {verdict.detail}" if verdict.detail else "unsandboxed"
    return replace(verdict, path=f"{verdict.path}-unsandboxed", detail=detail)


def _check_range(
    name: str, value: object, least: float, most: float, *, whole: bool = False
) -> None:
    """Raises ParameterError, naming the parameter, for what is no number in [least, most]."""
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        number = "a whole number" if whole else "a number"
        raise ParameterError(f"{name}: must be {number} in [{least:g}, {most:g}], not {value!r}")
