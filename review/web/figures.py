"""Numbers as people read them."""

from collections.abc import Iterable


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def percent_range(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def step_range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def step_ranges(steps: Iterable[int]) -> str:
    """Whole numbers as ranges: 9 to 18, 20."""
    ranges: list[tuple[int, int]] = []
    for step in sorted(steps):
        if ranges and step == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], step)
        else:
            ranges.append((step, step))
    return ", ".join(step_range(first, last) for first, last in ranges)
