"""Charts drawn on the server: inline SVG without style or script, coloured by the stylesheet.

Vega draws in colours that stand for roles; each becomes `currentColor` and a class
(`chart-reward`, ...), so that light, dark and print are the stylesheet's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import Element, fromstring

from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from review.web.rendering import SVG_ATTRIBUTES, svg

WIDTH, HEIGHT = 900, 250
MOST_DOTS = 100
NAMESPACE = "{http://www.w3.org/2000/svg}"
ROLES = {
    "#000001": "chart-reward",
    "#000002": "chart-audited",
    "#000003": "chart-band",
    "#000004": "chart-table",
    "#000005": "chart-grid",
    "#000006": "chart-text",
}
REWARD, AUDITED, BAND, TABLE, GRID, TEXT = ROLES


@dataclass(frozen=True, slots=True)
class GapPoint:
    """The share of a step's rollouts that the verifier accepted; of several steps, their middle."""

    step: float
    reward: float


@dataclass(frozen=True, slots=True)
class AuditedSpan:
    """Audited true accuracy of a window's steps, with its interval; None: too few labels."""

    first_step: int
    last_step: int
    point: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TableMark:
    """The first step whose rewards came from this version of the reward table."""

    step: int
    version: int


def gap_chart(
    points: Sequence[GapPoint], audited: Sequence[AuditedSpan], tables: Sequence[TableMark]
) -> SafeString | None:
    """Verifier reward and audited accuracy by step; None where there is nothing to draw."""
    if not points and not audited:
        return None
    return _gap_svg(tuple(points), tuple(audited), tuple(tables), get_language())


@lru_cache(maxsize=64)
def _gap_svg(
    points: tuple[GapPoint, ...],
    audited: tuple[AuditedSpan, ...],
    tables: tuple[TableMark, ...],
    language: str | None,
) -> SafeString:
    """The language is that of the words in it: one more part of the key of what is kept."""
    # Imported here: together they take seconds and 100 MB, which other pages never need.
    import vl_convert

    drawing = fromstring(vl_convert.vegalite_to_svg(_specification(points, audited, tables)))  # noqa: S314  # our own
    root = _classed(drawing)
    root.set("class", "chart")
    _describe(root, _summary(points, audited, tables))
    return svg(root)


def _specification(
    points: tuple[GapPoint, ...], audited: tuple[AuditedSpan, ...], tables: tuple[TableMark, ...]
) -> dict[str, Any]:
    import altair as alt

    def rows(values: list[dict[str, Any]]) -> alt.Chart:
        return alt.Chart({"values": values})

    share = alt.Scale(domain=[0, 1])
    x = alt.X("step:Q", title=_("step"), scale=alt.Scale(zero=False, nice=False, padding=12))
    y = alt.Y("value:Q", title=_("share of rollouts"), scale=share)
    ends = alt.X2("end:Q")
    spans = rows([_span_row(span) for span in audited])
    known = rows([_span_row(span) for span in audited if span.point is not None])
    rewards = rows([{"step": point.step, "value": point.reward} for point in points])
    marks = rows([{"step": mark.step - 0.5, "name": f"v{mark.version}"} for mark in tables])
    dot = alt.OverlayMarkDef(color=REWARD, filled=True, size=24, opacity=1)
    # Dots that touch would be a thick line.
    has_dots = len(points) <= MOST_DOTS
    layers = [
        spans.mark_rect(color=BAND).encode(x, ends, alt.Y("low:Q", scale=share), alt.Y2("high:Q")),
        marks.mark_rule(color=TABLE, strokeDash=[3, 3]).encode(x),
        known.mark_rule(color=AUDITED, strokeWidth=2.5).encode(x, ends, y),
        rewards.mark_line(color=REWARD, strokeWidth=2, point=dot if has_dots else False).encode(
            x, y
        ),
        marks.mark_text(color=TABLE, dy=-5, baseline="bottom", fontSize=12).encode(
            x, y=alt.value(0), text="name:N"
        ),
    ]
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT).configure(**_look())
    specification: dict[str, Any] = chart.to_dict()
    return specification


def _span_row(span: AuditedSpan) -> dict[str, Any]:
    """A window covers its steps whole: half a step to each side of their numbers."""
    return {
        "step": span.first_step - 0.5,
        "end": span.last_step + 0.5,
        "value": span.point,
        "low": span.low,
        "high": span.high,
    }


def _look() -> dict[str, Any]:
    axis = {"labelColor": TEXT, "titleColor": TEXT, "labelFontSize": 12, "titleFontSize": 12}
    lines = {"gridColor": GRID, "domainColor": GRID, "tickColor": GRID, "titleFontWeight": "normal"}
    return {
        "background": "transparent",
        "view": {"stroke": None},
        "axis": {**axis, **lines, "labelFlush": False},
        "axisX": {"grid": False, "format": "d", "tickMinStep": 1},
        "axisY": {"format": ".1f", "tickCount": 5},
    }


def _classed(drawn: Element) -> Element:
    """A copy with the listed attributes only: colours of roles as classes, no fixed size."""
    root = Element(drawn.tag.removeprefix(NAMESPACE))
    for name, value in drawn.items():
        if value in ROLES:
            root.set(name, "currentColor")
            root.set("class", ROLES[value])
        elif name in SVG_ATTRIBUTES - {"class", "role"}:
            root.set(name, value)
    if root.tag == "svg":
        root.attrib.pop("width")
        root.attrib.pop("height")
        root.set("xmlns", NAMESPACE.strip("{}"))
    root.text = drawn.text
    root.extend(_classed(child) for child in drawn if child.get("display") != "none")
    return root


def _describe(root: Element, summary: str) -> None:
    root.set("role", "img")
    root.set("aria-labelledby", "gap-chart-title gap-chart-summary")
    title, description = (
        Element("title", id="gap-chart-title"),
        Element("desc", id="gap-chart-summary"),
    )
    title.text = _("Verifier reward and audited true accuracy by step")
    description.text = summary
    root[:0] = [title, description]


def _summary(
    points: tuple[GapPoint, ...], audited: tuple[AuditedSpan, ...], tables: tuple[TableMark, ...]
) -> str:
    parts = [_course(points[0], points[-1])] if points else []
    parts += [_audited(span) for span in audited]
    parts += [
        _("Reward table v%(version)s from step %(step)s.")
        % {"version": mark.version, "step": mark.step}
        for mark in tables
    ]
    return " ".join(parts)


def _course(first: GapPoint, last: GapPoint) -> str:
    return _(
        "Verifier reward goes from %(first)s at step %(first_step)s "
        "to %(last)s at step %(last_step)s."
    ) % {
        "first": f"{first.reward:.2f}",
        "first_step": f"{first.step:g}",
        "last": f"{last.reward:.2f}",
        "last_step": f"{last.step:g}",
    }


def _audited(span: AuditedSpan) -> str:
    return _(
        "Steps %(first)s to %(last)s: audited true accuracy %(point)s, "
        "interval %(low)s to %(high)s."
    ) % {
        "first": span.first_step,
        "last": span.last_step,
        "point": _("not known yet") if span.point is None else f"{span.point:.2f}",
        "low": f"{span.low:.2f}",
        "high": f"{span.high:.2f}",
    }
