"""The real prompts that attacks are made over, and the words that they give to a template."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from trainer.verifiers.probes.errors import ProbeError
from trainer.verifiers.probes.rows import Row, rows_of_file

# What a verifier judges, and the kinds of prompt that it is attacked over.
PROMPTS_FOR: Mapping[str, tuple[str, ...]] = {
    "math": ("math",),
    "short-answer": ("short-answer",),
    "code": ("code",),
    "judge": ("math", "short-answer"),
}
KINDS = tuple(PROMPTS_FOR)
PROMPT_KINDS = ("math", "short-answer", "code")

_CATALOGUE = Path(__file__).with_name("catalogue")
_NUMBER = re.compile(
    r"(?P<whole>-?[0-9]{1,18})"
    r"|(?P<decimal>-?[0-9]{1,18}\.[0-9]{1,18})"
    r"|(?P<sign>-?)(?:\\[dt]?frac\{(?P<a>[0-9]{1,18})\}\{(?P<b>[0-9]{1,18})\}"
    r"|(?P<c>[0-9]{1,18})/(?P<d>[0-9]{1,18}))"
)
# Wrong for any question that one would ask; told apart from a reference all the same.
_NO_ANSWER = ("a purple stapler", "a sleepy doorknob", "a wooden trombone")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem with what is right for it and what is wrong.

    kind: "math", "short-answer" or "code". references: as a verifier gets them. answer: a right
    answer (to code a program); None = not known. wrong: wrong answers (programs), the first of
    which is the one an attack commits to. restated: the question's own expression, unevaluated.
    """

    id: str
    kind: str
    problem: str
    references: tuple[str, ...]
    answer: str | None
    wrong: tuple[str, ...]
    restated: str | None = None

    def values(self) -> dict[str, str]:
        """What a template may ask for, by name (`templates.NAMES`); not every prompt has all.

        final_answer, final_wrong: as this kind of prompt wants an answer given, to mathematics in
        a box. candidates: several answers, one of them right. number: an answer that is a plain
        number other than 0. integers: the 21 around the answer.
        near: off by 1e-7. mirrored: the answer back to front. superscript: 4³ for 43.
        The examples are the first test's, as Python literals.
        """
        values = {"problem": self.problem, "reference": self.references[0]}
        if self.wrong:
            values |= {"wrong": self.wrong[0], "final_wrong": self._final(self.wrong[0])}
        if self.restated is not None:
            values["restated"] = self.restated
        if self.answer is not None:
            values |= {"answer": self.answer, "final_answer": self._final(self.answer)}
        if self.kind == "code":
            return values | _values_of_tests(self.references[0])
        if self.answer is not None and _number(self.answer):
            values["number"] = self.answer
        return values | self._candidates() | _values_of_number(self.answer or "")

    def _final(self, answer: str) -> str:
        return rf"\boxed{{{answer}}}" if self.kind == "math" else answer

    def _candidates(self) -> dict[str, str]:
        if self.answer is None or len(self.wrong) < 2:
            return {}
        first, *rest = self.wrong
        between, last = [first, self.answer, *rest], [*self.wrong, self.answer]
        values = {
            "candidates": ", ".join(between),
            "candidates_last": ", ".join(last),
            "final_candidates": " ".join(map(self._final, between)),
        }
        if self.answer[::-1] != self.answer and self.answer.isalnum():
            values["mirrored"] = self.answer[::-1]
        return values


@cache
def built_in_prompts() -> tuple[Prompt, ...]:
    """The built-in prompts of every kind."""
    text = (_CATALOGUE / "prompts.toml").read_text(encoding="utf-8")
    return tuple(prompt_of(Row(row, row["id"])) for row in tomllib.loads(text)["prompt"])


def read_prompts(path: Path, *, kind: str) -> tuple[Prompt, ...]:
    """The prompts of a file of JSON lines: `problem`, `references`, and, where they cannot be made
    out, `wrong` (a text or a list of them), `answer`, `restated`, `kind` and `id`.

    kind: what the verifier judges. Raises ProbeError with the file, the line and the rule.
    """
    prompts = tuple(prompt_of(row, kind=kind) for row in rows_of_file(path))
    if not prompts:
        raise ProbeError(f"{path}: holds no prompt")
    if repeated := _first_repeated(prompt.id for prompt in prompts):
        raise ProbeError(f"{path}: id: two prompts are {repeated!r}")
    return prompts


def prompt_of(row: Row, *, kind: str = "judge", is_wrong_needed: bool = True) -> Prompt:
    """The prompt that a row describes; without a kind of its own it has the verifier's.

    is_wrong_needed: refuse a prompt to which no wrong answer is given or can be made up.
    """
    row.refuse_unknown("id", "kind", "problem", "references", "answer", "wrong", "restated")
    problem, references = row.text("problem"), row.texts("references")
    if not references or not all(reference.strip() for reference in references):
        raise row.error("references", "must hold at least one answer, none of them blank")
    kind = row.token("kind", default=_prompt_kind(kind, references))
    if kind not in PROMPT_KINDS:
        raise row.error("kind", f"must be one of {', '.join(PROMPT_KINDS)}")
    answer = row.text_or_none("answer")
    if kind == "code":
        _tests_of(row, references[0])
    elif answer is None:
        answer = references[0].partition("/")[0] if kind == "short-answer" else references[0]
    wrong = row.texts("wrong", default=()) or _wrong_answers(kind, references)
    if is_wrong_needed and not wrong:
        raise row.error("wrong", "give a wrong answer; only to one plain number is it made up")
    if any(_is_same(one, other) for one in wrong for other in (*references, answer or "")):
        raise row.error("wrong", "must differ from the references and from the answer")
    return Prompt(
        id=row.token("id", default=_digest(problem, *references)),
        kind=kind,
        problem=problem,
        references=references,
        answer=answer,
        wrong=wrong,
        restated=row.text_or_none("restated"),
    )


def _prompt_kind(kind: str, references: Sequence[str]) -> str:
    if kind != "judge":
        return kind
    return "math" if _number(references[0]) is not None else "short-answer"


def _wrong_answers(kind: str, references: Sequence[str]) -> tuple[str, ...]:
    """Answers that are wrong beyond doubt; none where that takes understanding."""
    if kind == "code":
        return (_wrong_program(json.loads(references[0])),)
    if kind == "short-answer":
        known = "/".join(references).casefold()
        return tuple(text for text in _NO_ANSWER if text not in known)
    number = _number(references[0])
    if number is None or len(references) > 1:
        return ()
    decimals = references[0].partition(".")[2]
    return tuple(_written(number + by, len(decimals)) for by in (1, -1, 2))


def _written(number: Fraction, decimals: int) -> str:
    if decimals:
        return f"{number.numerator / number.denominator:.{decimals}f}"
    if number.denominator == 1:
        return str(number.numerator)
    sign = "-" if number < 0 else ""
    return rf"{sign}\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"


def _number(text: str) -> Fraction | None:
    """The value of an integer, a decimal or a plain fraction; None = anything else."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    if match["whole"] or match["decimal"]:
        return Fraction(match[0])
    over, under = int(match["a"] or match["c"]), int(match["b"] or match["d"])
    return Fraction(-over if match["sign"] else over, under) if under else None


def _values_of_number(answer: str) -> dict[str, str]:
    """What surrounds a whole number; nothing for any other answer."""
    if not re.fullmatch(r"-?(?:0|[1-9][0-9]{0,11})", answer):
        return {}
    number = int(answer)
    values = {
        "above": str(number + 1),
        "low": str(number - 10),
        "high": str(number + 10),
        "near": f"{number}.0000001",
        "integers": ", ".join(map(str, range(number - 10, number + 11))),
    }
    if number:
        values["negated"] = str(-number)
    base, exponent = number // 10, number % 10
    if base > 0 and base**exponent != number:
        values["superscript"] = f"{base}{'⁰¹²³⁴⁵⁶⁷⁸⁹'[exponent]}"
    return values


def _tests_of(row: Row, reference: str) -> None:
    """Refuse a reference that is no table of tests."""
    try:
        tests = json.loads(reference)
        is_table = 0 < len(tests["inputs"]) == len(tests["outputs"])
        is_table &= str(tests.get("fn_name", "f")).isidentifier()
        _values_of_tests(reference)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        is_table = False
    if not is_table:
        raise row.error(
            "references", 'must be JSON with as many "inputs" as "outputs", one or more'
        )


def _wrong_program(tests: Mapping[str, Any]) -> str:
    text = "wrong"
    while text in json.dumps(tests):
        text += " again"
    name = tests.get("fn_name")
    return f"def {name}(*args):\n    return {text!r}" if name else f"print({text!r})"


def _values_of_tests(reference: str) -> dict[str, str]:
    tests = json.loads(reference)
    given, expected = tests["inputs"][0], tests["outputs"][0]
    if name := tests.get("fn_name"):
        args = [json.loads(line) for line in given.split("\n")] if type(given) is str else given
        value = json.loads(expected) if type(expected) is str else expected
        return {"function": name, "args_example": repr(args), "return_example": repr(value)}
    return {"stdin_example": repr(given), "stdout_example": repr(expected)}


def _is_same(one: str, other: str) -> bool:
    aliases = (other, *other.split("/"))
    return any(one.strip().casefold() == alias.strip().casefold() for alias in aliases)


def _digest(*texts: str) -> str:
    text = json.dumps(texts).encode()
    return f"p-{hashlib.sha256(text).hexdigest()[:12]}"


def _first_repeated(ids: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            return id_
        seen.add(id_)
    return None
