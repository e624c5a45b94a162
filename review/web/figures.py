"""Numbers as people read them."""

from collections.abc import Iterable

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from review.labeling.models import Answer

ANSWERS = {
    Answer.CORRECT: gettext_lazy("correct"),
    Answer.INCORRECT: gettext_lazy("incorrect"),
    Answer.CANNOT_TELL: gettext_lazy("cannot tell"),
}


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def percent_range(low: float, high: float) -> str:
    return span(f"{100 * low:.1f}", f"{100 * high:.1f} %")


def step_range(first: int, last: int) -> str:
    return str(first) if first == last else span(str(first), str(last))


def span(low: str, high: str) -> str:
    return _("%(low)s to %(high)s") % {"low": low, "high": high}


def step_ranges(steps: Iterable[int]) -> str:
    """Whole numbers as ranges: 9 to 18, 20."""
    ranges: list[tuple[int, int]] = []
    for step in sorted(steps):
        if ranges and step == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], step)
        else:
            ranges.append((step, step))
    return ", ".join(step_range(first, last) for first, last in ranges)


def half_width(share: float) -> str:
    """Half an interval, in percentage points: ± 4.2."""
    return f"± {100 * share:.1f}"


def answer_words(answer: str) -> str:
    return str(ANSWERS[Answer(answer)])


def bar(low: float, high: float, point: float | None = None) -> dict[str, float]:
    """An interval between 0 and 1 as places on a line of length 100."""
    drawn = {"low": 100 * low, "width": 100 * (high - low)}
    return drawn if point is None else drawn | {"point": 100 * point - 0.4}


def duration(seconds: float) -> str:
    """As many figures as matter: 40 s, 12 min, 3.4 h."""
    if seconds < 90:
        return _("%(n)s s") % {"n": f"{seconds:.0f}"}
    if seconds < 90 * 60:
        return _("%(n)s min") % {"n": f"{seconds / 60:.0f}"}
    hours = f"{seconds / 3600:.1f}" if seconds < 36_000 else f"{seconds / 3600:,.0f}"
    return _("%(n)s h") % {"n": hours}


def share_of_line(half_width: float, target: float) -> dict[str, float]:
    """A half width as a bar on a line of length 100, and the place of the target on it."""
    longest = max(half_width, target) * 1.1
    return {"width": 100 * half_width / longest, "target": 100 * target / longest - 0.4}
