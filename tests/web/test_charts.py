from xml.etree.ElementTree import Element, fromstring

import pytest

from review.web import charts
from review.web.charts import AuditedSpan, GapPoint, TableMark, gap_chart

SVG = "{http://www.w3.org/2000/svg}"
POINTS = [GapPoint(step, 0.3 + step / 100) for step in range(1, 25)]
AUDITED = [AuditedSpan(1, 8, 0.35, 0.3, 0.4), AuditedSpan(9, 18, None, 0.0, 1.0)]
TABLES = [TableMark(9, 1), TableMark(19, 2)]


def drawn(*args: list[GapPoint] | list[AuditedSpan] | list[TableMark]) -> Element:
    chart = gap_chart(*args)  # type: ignore[arg-type]
    assert chart is not None
    return fromstring(chart)  # noqa: S314  # drawn by us


def test_nothing_to_draw_is_none() -> None:
    assert gap_chart([], [], []) is None
    assert gap_chart([], [], TABLES) is None


@pytest.mark.parametrize(
    ("points", "audited", "tables"),
    [
        (POINTS, AUDITED, TABLES),
        (POINTS, [], []),
        ([], AUDITED, []),
        ([GapPoint(3, 1.0)], [AuditedSpan(3, 3, 0.0, 0.0, 0.0)], [TableMark(3, 1)]),
    ],
)
def test_a_chart_has_no_style_no_script_and_no_fixed_size(
    points: list[GapPoint], audited: list[AuditedSpan], tables: list[TableMark]
) -> None:
    root = drawn(points, audited, tables)
    elements = list(root.iter())
    assert not {f"{SVG}style", f"{SVG}script", f"{SVG}foreignObject", f"{SVG}image"} & {
        element.tag for element in elements
    }
    names = {name for element in elements for name in element.attrib}
    assert not {n for n in names if n.startswith("on") or "style" in n or "href" in n}
    assert root.get("viewBox")
    assert root.get("width") is root.get("height") is None


def test_a_chart_has_a_name_and_says_in_words_what_it_shows() -> None:
    root = drawn(POINTS, AUDITED, TABLES)
    assert root.get("role") == "img"
    title, summary = root[0], root[1]
    assert root.get("aria-labelledby") == f"{title.get('id')} {summary.get('id')}"
    assert title.text == "Verifier reward and audited true accuracy by step"
    assert summary.text is not None
    assert "from 0.31 at step 1 to 0.54 at step 24" in summary.text
    assert "Steps 1 to 8: audited true accuracy 0.35, interval 0.30 to 0.40." in summary.text
    assert "Steps 9 to 18: audited true accuracy not known yet" in summary.text
    assert "Reward table v2 from step 19." in summary.text


def test_every_colour_is_left_to_the_stylesheet() -> None:
    elements = list(drawn(POINTS, AUDITED, TABLES).iter())
    colours = {element.get(name) for element in elements for name in ("fill", "stroke")}
    assert colours <= {None, "none", "transparent", "currentColor"}
    classes = {element.get("class") for element in elements}
    assert set(charts.ROLES.values()) <= classes


def test_tables_are_labelled_by_version_and_unknown_accuracy_draws_its_band_only() -> None:
    root = drawn(POINTS, AUDITED, TABLES)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"v1", "v2"} <= set(texts)
    assert sum(e.get("class") == "chart-band" for e in root.iter()) == 2
    assert sum(e.get("class") == "chart-audited" for e in root.iter()) == 1
    assert sum(e.get("class") == "chart-table" and e.tag == f"{SVG}line" for e in root.iter()) == 2


def test_the_same_numbers_are_drawn_once() -> None:
    assert gap_chart(POINTS, AUDITED, TABLES) is gap_chart(POINTS, AUDITED, TABLES)


def test_a_line_of_many_points_has_no_dots() -> None:
    def dots(steps: int) -> int:
        root = drawn([GapPoint(step, 0.5) for step in range(steps)], [], [])
        return sum(e.get("class") == "chart-reward" for e in root.iter())

    assert dots(30) == 1 + 30
    assert dots(charts.MOST_DOTS + 1) == 1
