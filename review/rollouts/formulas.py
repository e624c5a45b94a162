r"""Where a formula begins and ends in a text: the same for who cuts it and for who renders it."""

import re
from dataclasses import dataclass, replace

# Of a formula's source. It also keeps the time for hostile text linear.
FORMULA_LIMIT = 4_000
BOXED_LIMIT = 1_000

ALIGNED = [
    *("align", "align*", "aligned", "alignat", "alignat*", "alignedat", "eqnarray", "eqnarray*"),
    *("flalign", "flalign*", "gather", "gather*", "gathered", "multline", "multline*", "split"),
]
AS_THEY_ARE = [
    *("array", "cases", "matrix", "pmatrix", "bmatrix", "vmatrix", "Bmatrix", "Vmatrix"),
]
# Each environment that is a formula, and the one that it is rendered as.
ENVIRONMENTS = {
    **dict.fromkeys(ALIGNED, "align*"),
    **{name: name for name in AS_THEY_ARE},
    "dcases": "cases",
    "smallmatrix": "matrix",
    "equation": "",
    "equation*": "",
}

CLOSERS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
BEGIN = re.compile(r"\\begin\{([a-zA-Z]+\*?)\}")
BRACE = re.compile(r"[{}]")
# An amount of money is no formula: "$5 and $10" and "3*$2" stay text.
DOLLARS = re.compile(r"(?<![\d$])\$(?![\s$])((?:[^$\n\\]|\\.){1,1000}?)(?<!\s)\$(?![\d$])")


@dataclass(frozen=True, slots=True)
class Formula:
    tex: str
    end: int
    is_display: bool


def formula_at(text: str, start: int) -> Formula | None:
    r"""The formula that opens at `start` with \( \[ $ $$ \begin{..} or \boxed{.

    The closing mark is sought within a limit, which keeps the time for hostile text linear.
    """
    opener = text[start : start + 2]
    if closer := CLOSERS.get(opener):
        return _enclosed(text, start + 2, closer, is_display=opener != "\\(")
    if opener[:1] == "$":
        found = DOLLARS.match(text, start)
        return Formula(found[1], found.end(), is_display=False) if found else None
    if text.startswith("\\boxed{", start):
        return _boxed(text, start)
    begin = BEGIN.match(text, start)
    if begin is None or begin[1] not in ENVIRONMENTS:
        return None
    closer = f"\\end{{{begin[1]}}}"
    body = _enclosed(text, begin.end(), closer, is_display=True)
    return body and replace(body, tex=begin[0] + body.tex + closer)


def _enclosed(text: str, start: int, closer: str, *, is_display: bool) -> Formula | None:
    end = text.find(closer, start, start + FORMULA_LIMIT)
    if end < 0 or not text[start:end].strip():
        return None
    return Formula(text[start:end].strip(), end + len(closer), is_display)


def _boxed(text: str, start: int) -> Formula | None:
    depth = 0
    for brace in BRACE.finditer(text, start, start + BOXED_LIMIT):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return Formula(text[start : brace.end()], brace.end(), is_display=False)
    return None
