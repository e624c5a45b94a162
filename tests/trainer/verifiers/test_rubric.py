"""A rubric: each criterion judged by itself, combined as declared."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.judge_endpoint import RIGHT, WRONG, Endpoint, Says, serving
from trainer.verifiers import Item, Outcome, ParameterError, Verdict, Verifier, build

PASS, FAIL, UNDECIDED = Outcome.PASS, Outcome.FAIL, Outcome.UNDECIDED
SAID = {"met": RIGHT, "missed": WRONG, "unclear": "Hm."}


def behave(prompt: str) -> Says:
    """What the criterion itself says that the answer is."""
    found = re.search(r"It is (met|missed|unclear)", prompt)
    assert found is not None
    return Says(SAID[found[1]])


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving(behave) as endpoint:
        yield endpoint


def criterion(name: str, kind: str, weight: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"name": name, "text": f"It is {kind}.", "weight": weight, **more}


def rubric(endpoint: Endpoint, *criteria: Any, **params: Any) -> Verifier:
    asked = {"base_url": endpoint.url, "model": "m", "attempts": 1}
    judge = {"name": "judge", "params": asked}
    return build("rubric", criteria=list(criteria), **{"judge": judge, **params})


def verdict_of(verifier: Verifier, response: str = "so it is 15") -> Verdict:
    (verdict,) = verifier.verify([Item("7 + 8?", response, ("15",))])
    return verdict


def test_the_score_is_the_weighted_mean(endpoint: Endpoint) -> None:
    criteria = criterion("a", "met", 3), criterion("b", "missed", 1)
    verdict = verdict_of(rubric(endpoint, *criteria, pass_mark=0.75))
    assert (verdict.outcome, verdict.score, verdict.path) == (PASS, 0.75, "mean")
    assert verdict_of(rubric(endpoint, *criteria, pass_mark=0.76)).outcome is FAIL


def test_weights_are_added_as_they_are_written(endpoint: Endpoint) -> None:
    criteria = criterion("a", "met", 0.7), criterion("b", "met", 0.2), criterion("c", "missed", 0.1)
    verdict = verdict_of(rubric(endpoint, *criteria, pass_mark=0.9))
    assert (verdict.outcome, verdict.score) == (PASS, 0.9)


@pytest.mark.parametrize(
    ("combine", "kinds", "outcome"),
    [
        ("all", ["met", "met"], PASS),
        ("all", ["met", "missed"], FAIL),
        ("all", ["met", "unclear"], UNDECIDED),
        ("all", ["missed", "unclear"], FAIL),
        ("any", ["missed", "met"], PASS),
        ("any", ["missed", "missed"], FAIL),
        ("any", ["missed", "unclear"], UNDECIDED),
        ("any", ["met", "unclear"], PASS),
        ("mean", ["met", "met", "unclear"], PASS),
        ("mean", ["met", "missed", "unclear"], UNDECIDED),
        ("mean", ["missed", "missed", "unclear"], FAIL),
    ],
)
def test_an_undecided_criterion_counts_only_where_it_could_change_the_whole(
    endpoint: Endpoint, combine: str, kinds: list[str], outcome: Outcome
) -> None:
    criteria = [criterion(f"c{i}", kind) for i, kind in enumerate(kinds)]
    verdict = verdict_of(rubric(endpoint, *criteria, combine=combine))
    assert verdict.outcome is outcome
    assert (verdict.score is None) == ("unclear" in kinds)
    if outcome is UNDECIDED:
        assert verdict.detail == f"undecided: c{kinds.index('unclear')}"


def test_the_record_holds_each_criterion_s_outcome(endpoint: Endpoint) -> None:
    criteria = (
        criterion("a", "met", 2),
        criterion("b", "unclear"),
        criterion("c", "anything", verifier={"name": "exact-match"}),
    )
    record = verdict_of(rubric(endpoint, *criteria)).record
    assert record is not None
    assert json.loads(json.dumps(record)) == record
    assert (record["combine"], record["pass_mark"]) == ("mean", 0.5)
    said = [(c["name"], c["weight"], c["verifier"], c["outcome"]) for c in record["criteria"]]
    assert said == [
        ("a", 2.0, "judge", "pass"),
        ("b", 1.0, "judge", "undecided"),
        ("c", 1.0, "exact-match", "fail"),
    ]
    assert record["criteria"][0]["record"]["raw"] == RIGHT


def test_the_judge_is_asked_for_the_criterion_alone(endpoint: Endpoint) -> None:
    verdict_of(rubric(endpoint, criterion("a", "met"), criterion("b", "missed")))
    first, second = endpoint.prompts
    assert "It is met." in first
    assert "It is missed." not in first
    assert "It is missed." in second
    assert "reference" not in first


def test_a_judge_may_be_asked_another_way(endpoint: Endpoint) -> None:
    asked = {"base_url": endpoint.url, "model": "m", "prompt": "reference-1"}
    own = {"name": "judge", "params": asked}
    verifier = rubric(endpoint, {"name": "a", "text": "Right.", "verifier": own}, judge=None)
    verdict_of(verifier, "It is met")
    assert "reference answer" in endpoint.prompts[0]


kinds = st.lists(st.sampled_from(["exact", "contained"]), min_size=1, max_size=4)
responses = st.lists(st.sampled_from(["15", "so 15", "16", "", "\ud800"]), max_size=8)


@given(kinds, responses, st.sampled_from(["all", "any", "mean"]))
def test_no_verdict_is_lost_or_shifted(
    kinds: list[str], responses: list[str], combine: str
) -> None:
    names = {"exact": "exact-match", "contained": "alias-contained"}
    criteria = [
        {"name": f"c{i}", "text": "Right.", "verifier": {"name": names[kind]}}
        for i, kind in enumerate(kinds)
    ]
    batch = [Item("7 + 8?", text, ("15",)) for text in responses]
    verdicts = build("rubric", criteria=criteria, combine=combine).verify(batch)
    met = {"exact": {"15"}, "contained": {"15", "so 15"}}
    for text, verdict in zip(responses, verdicts, strict=True):
        share = sum(text in met[kind] for kind in kinds) / len(kinds)
        least = {"all": 1.0, "any": 1 / len(kinds), "mean": 0.5}[combine]
        assert verdict.outcome is (PASS if share >= least else FAIL)
        assert verdict.score == share


RULE = {"name": "exact-match"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"criteria": []}, r"criteria: must be a list of 1 to 32"),
        ({"criteria": [criterion("a", "met", verifier=RULE)] * 33}, r"criteria: must be a list"),
        ({"criteria": "ab"}, r"criteria: must be a list"),
        ({"criteria": ["a"]}, r"criteria\[0\]: must have name and text"),
        ({"criteria": [{"name": "a"}]}, r"criteria\[0\]: must have name and text"),
        ({"criteria": [criterion("a", "met", size=1)]}, r"criteria\[0\]: must have name and text"),
        ({"criteria": [criterion("A b", "met")]}, r"criteria\[0\]\.name: "),
        ({"criteria": [{"name": "a", "text": " "}]}, r"criteria\[0\]\.text: "),
        ({"criteria": [criterion("a", "met", 0)]}, r"criteria\[0\]\.weight: must be over 0"),
        ({"criteria": [criterion("a", "met", -1)]}, r"criteria\[0\]\.weight: "),
        ({"criteria": [criterion("a", "met", float("nan"))]}, r"criteria\[0\]\.weight: "),
        ({"criteria": [criterion("a", "met")]}, r"criteria\[0\]\.verifier: is needed"),
        ({"criteria": [criterion("a", "met")], "judge": "judge"}, r"judge: must be an object"),
        ({"criteria": [criterion("a", "met")], "judge": {"name": ["judge"]}}, r"judge\.name: "),
        (
            {"criteria": [criterion("a", "met")], "judge": {"name": "judge"}},
            r"judge\.params\.model",
        ),
        (
            {"criteria": [criterion("a", "met", verifier={"name": "nobody"})]},
            r"criteria\[0\]\.verifier\.name: unknown verifier 'nobody'",
        ),
        (
            {"criteria": [criterion("a", "met", verifier=RULE)] * 2},
            r"criteria: their names must differ",
        ),
        ({"criteria": [criterion("a", "met", verifier=RULE)], "combine": "sum"}, r"combine: "),
        ({"criteria": [criterion("a", "met", verifier=RULE)], "pass_mark": 2}, r"pass_mark: "),
    ],
)
def test_a_rubric_that_does_not_fit_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=f"^{message}"):
        build("rubric", **params)


def test_rubrics_in_rubrics_in_rubrics_are_refused() -> None:
    inner: dict[str, Any] = RULE
    for _ in range(3):
        params = {"criteria": [criterion("a", "met", verifier=inner)]}
        inner = {"name": "rubric", "params": params}
    with pytest.raises(ParameterError, match="2 levels deep"):
        build("rubric", **params)
    assert build("rubric", **params["criteria"][0]["verifier"]["params"]).name == "rubric"


def test_what_decides_is_part_of_the_version(endpoint: Endpoint) -> None:
    versions = {
        rubric(endpoint, criterion("a", "met")).version,
        rubric(endpoint, criterion("a", "met", 2), criterion("b", "met")).version,
        rubric(endpoint, criterion("a", "met"), criterion("b", "met")).version,
        rubric(endpoint, criterion("a", "met"), combine="all").version,
        rubric(endpoint, criterion("a", "met"), pass_mark=0.6).version,
        rubric(endpoint, criterion("a", "met", verifier=RULE)).version,
    }
    assert len(versions) == 6
    assert all(len(version) <= 40 for version in versions)
