"""The tests of a program, read from a reference, and how outputs are compared."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

_FIELDS = ("inputs", "outputs", "fn_name")
# No right solution writes more than this and four times what is expected. What it writes is decoded
# here: values take many times the memory of their text.
_MORE_OUTPUT_BYTES = 1 << 20
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class CasesError(ValueError):
    """A reference holds no tests that can be run; the text names the field and the rule."""


class Expected(Protocol):
    """What a test wants to see."""

    def accepts(self, output: bytes, tolerance: float) -> bool:
        """Whether what a program wrote is right, numbers with a fraction within the tolerance
        (relative and absolute). Hostile output never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """One test. stdin: all that the sandbox is told of it. output_bytes: more is stopped."""

    stdin: bytes
    expected: Expected
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests, one or more. fn_name: the function that they call; None = programs that read standard
    input and write standard output."""

    fn_name: str | None
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Standard output: the same words in the same lines. White space within a line and blank lines
    around all do not count."""

    text: str

    @property
    def is_idle(self) -> bool:
        """Whether a program that does nothing writes this."""
        return not self.text.strip()

    def accepts(self, output: bytes, tolerance: float) -> bool:
        try:
            found = _lines(output.decode())
        except UnicodeDecodeError:
            return False
        wanted = _lines(self.text)
        return len(found) == len(wanted) and all(
            _same_words(*pair, tolerance) for pair in zip(found, wanted, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Value:
    """What a function returns, as JSON: any of these."""

    values: tuple[Any, ...]

    @property
    def is_idle(self) -> bool:
        """Whether a function that does nothing returns this."""
        return None in self.values

    def accepts(self, output: bytes, tolerance: float) -> bool:
        try:
            found = json.loads(output)
        except (ValueError, RecursionError):
            return False
        return any(_is_same(found, value, tolerance) for value in self.values)


def suite_of(reference: str) -> Suite:
    """The tests in a reference: {"inputs": [...], "outputs": [...], "fn_name": optional}.

    Without fn_name an input is the program's standard input and an output what it must write, each
    a text or a list of lines. With fn_name an input is a list of arguments and an output the value
    (if every output is a list of one, that one too: APPS and TACO wrap them), or both are JSON in
    texts, an argument a line (LiveCodeBench). Raises CasesError.
    """
    try:
        return _suite(json.loads(reference))
    except CasesError:
        raise
    except (ValueError, RecursionError) as error:
        raise CasesError(f"reference: must be JSON: {error}") from error


def _suite(fields: Any) -> Suite:
    if not isinstance(fields, dict):
        raise CasesError("reference: must be a JSON object with inputs and outputs")
    if unknown := sorted(fields.keys() - set(_FIELDS)):
        raise CasesError(f"{unknown[0]}: unknown field; known: {', '.join(_FIELDS)}")
    inputs, outputs = (_listed(fields, name) for name in ("inputs", "outputs"))
    if len(inputs) != len(outputs):
        raise CasesError(f"outputs: must be as many as inputs: {len(outputs)} for {len(inputs)}")
    fn_name = fields.get("fn_name")
    if fn_name is None:
        return Suite(None, _program_cases(inputs, outputs))
    if not isinstance(fn_name, str) or not fn_name.isidentifier():
        raise CasesError("fn_name: must be the name of a function")
    return Suite(fn_name, _call_cases(fn_name, inputs, outputs))


def _listed(fields: dict[str, Any], name: str) -> list[Any]:
    listed = fields.get(name)
    if not isinstance(listed, list) or not listed:
        raise CasesError(f"{name}: must be a list with something in it")
    return listed


def _program_cases(inputs: list[Any], outputs: list[Any]) -> tuple[Case, ...]:
    texts = [_text(f"inputs[{i}]", given) for i, given in enumerate(inputs)]
    wanted = [Text(_text(f"outputs[{i}]", output)) for i, output in enumerate(outputs)]
    _refuse_idle(wanted)
    return tuple(
        Case(text.encode("utf-8", "surrogatepass"), expected, _most_bytes(expected.text))
        for text, expected in zip(texts, wanted, strict=True)
    )


def _text(field: str, value: Any) -> str:
    lines = value if isinstance(value, list) else [value]
    if not all(isinstance(line, str) or _is_number(line) for line in lines):
        raise CasesError(f"{field}: must be a text or a list of lines")
    return "\n".join(map(str, lines))


def _call_cases(fn_name: str, inputs: list[Any], outputs: list[Any]) -> tuple[Case, ...]:
    arguments = [_arguments(f"inputs[{i}]", given) for i, given in enumerate(inputs)]
    values = [
        _decoded(f"outputs[{i}]", output) if isinstance(given, str) else output
        for i, (given, output) in enumerate(zip(inputs, outputs, strict=True))
    ]
    is_wrapped = all(isinstance(value, list) and len(value) == 1 for value in values)
    wanted = [Value((value, value[0]) if is_wrapped else (value,)) for value in values]
    _refuse_idle(wanted)
    return tuple(
        Case(
            json.dumps({"fn_name": fn_name, "arguments": given}).encode(),
            expected,
            _most_bytes(json.dumps(expected.values)),
        )
        for given, expected in zip(arguments, wanted, strict=True)
    )


def _arguments(field: str, given: Any) -> list[Any]:
    if isinstance(given, str):
        return [_decoded(field, line) for line in given.split("\n") if line.strip()]
    if not isinstance(given, list):
        raise CasesError(f"{field}: must be a list of arguments, or a text with one a line")
    return given


def _decoded(field: str, value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise CasesError(f"{field}: must be JSON, as its text form is: {error}") from error


def _most_bytes(expected: str) -> int:
    return _MORE_OUTPUT_BYTES + 4 * len(expected.encode("utf-8", "surrogatepass"))


def _refuse_idle(wanted: list[Text] | list[Value]) -> None:
    if all(expected.is_idle for expected in wanted):
        raise CasesError("outputs: must not all be empty: a solution that does nothing would pass")


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().split("\n")]


def _same_words(found: list[str], wanted: list[str], tolerance: float) -> bool:
    return found == wanted or (
        len(found) == len(wanted)
        and all(_same_word(*pair, tolerance) for pair in zip(found, wanted, strict=True))
    )


def _same_word(found: str, wanted: str, tolerance: float) -> bool:
    """Only what is written with a fraction or an exponent is taken for a rounded number."""
    if found == wanted:
        return True
    is_rounded = _NUMBER.fullmatch(wanted) and not wanted.lstrip("+-").isdigit()
    return bool(is_rounded and _NUMBER.fullmatch(found)) and _is_close(
        float(found), float(wanted), tolerance
    )


def _is_same(found: Any, wanted: Any, tolerance: float) -> bool:
    """Whether two values decoded from JSON are the same; true is not 1. No recursion: they nest as
    deep as they like."""
    pairs = [(found, wanted)]
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            pairs += zip(left, right, strict=True)
        elif isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
            pairs += [(left[key], right[key]) for key in left]
        elif not _is_same_primitive(left, right, tolerance):
            return False
    return True


def _is_same_primitive(found: Any, wanted: Any, tolerance: float) -> bool:
    if _is_number(found) and _is_number(wanted):
        return found == wanted or (
            isinstance(wanted, float) and _is_close(found, wanted, tolerance)
        )
    if isinstance(found, list | dict):
        return False
    return type(found) is type(wanted) and bool(found == wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_close(found: float, wanted: float, tolerance: float) -> bool:
    """An infinity is close to nothing, a whole number beyond all floats neither."""
    try:
        is_finite = math.isfinite(found) and math.isfinite(wanted)
    except OverflowError:
        return False
    return is_finite and math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)
