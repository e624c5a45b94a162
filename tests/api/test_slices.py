"""GET and POST slices, DELETE slices/{id}."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from review.accounts.models import Project
from review.rollouts.models import Slice
from tests import builders
from tests.api.calls import Caller, refused

LONG_ALGEBRA: dict[str, Any] = {
    "name": "long algebra",
    "conditions": [
        {"field": "domain", "op": "in", "value": ["algebra"]},
        {"field": "length_bin", "op": "at_least", "value": 3},
        {"field": "probe", "op": "is", "value": False},
    ],
}


def with_condition(**changes: Any) -> dict[str, Any]:
    condition = {"field": "domain", "op": "is", "value": "logic"} | changes
    return {"name": "a", "conditions": [*LONG_ALGEBRA["conditions"], condition]}


def test_a_slice_is_made_listed_and_deleted(caller: Caller, project: Project) -> None:
    made = caller.post("slices", LONG_ALGEBRA)
    assert made.status_code == 201
    assert made.json() == LONG_ALGEBRA | {
        "id": made.json()["id"],
        "words": "domain is algebra and length at least 1,024 tokens and not hit by a probe",
    }
    assert caller.get("slices").json() == {"slices": [made.json()]}
    answer = caller.send("DELETE", f"slices/{made.json()['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert caller.get("slices").json() == {"slices": []}


def test_a_name_that_is_taken_is_refused(caller: Caller, project: Project) -> None:
    caller.post("slices", LONG_ALGEBRA)
    refused(caller.post("slices", LONG_ALGEBRA), 409, "conflict", "name")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_body", "name"),
        (LONG_ALGEBRA | {"name": ""}, "invalid_body", "name"),
        (LONG_ALGEBRA | {"name": " "}, "invalid_slice", "name"),
        (LONG_ALGEBRA | {"conditions": []}, "invalid_body", "conditions"),
        (LONG_ALGEBRA | {"conditions": "all"}, "invalid_body", "conditions"),
        (LONG_ALGEBRA | {"run": "x"}, "invalid_body", "run"),
        (with_condition(extra=1), "invalid_body", "conditions[3].extra"),
        (with_condition(value=None), "invalid_body", "conditions[3].value"),
        (with_condition(value={"or": []}), "invalid_body", "conditions[3].value"),
        (with_condition(value=0.5), "invalid_body", "conditions[3].value"),
        (with_condition(value=["a", 1]), "invalid_body", "conditions[3].value[1]"),
        (with_condition(value="bare:" + "9" * 5000), "invalid_body", "conditions[3].value"),
        (with_condition(field="run__project_id"), "invalid_slice", "conditions[3].field"),
        (with_condition(op="regex"), "invalid_slice", "conditions[3].op"),
        (with_condition(value="d" * 61), "invalid_slice", "conditions[3].value"),
        (with_condition(op="in", value=["d"] * 51), "invalid_slice", "conditions[3].value"),
        (with_condition(field="score_bin", value=True), "invalid_slice", "conditions[3].value"),
        (with_condition(field="score_bin", value=10**30), "invalid_slice", "conditions[3].value"),
    ],
)
def test_a_bad_slice_is_refused(
    caller: Caller, project: Project, body: dict[str, Any], code: str, field: str
) -> None:
    refused(caller.post("slices", body), 400, code, field)
    assert not Slice.objects.exists()


def test_another_projects_slices_do_not_exist_here(caller: Caller, project: Project) -> None:
    theirs = Caller(builders.make_token(builders.make_project(), "lead"))
    made = theirs.post("slices", LONG_ALGEBRA).json()
    assert caller.get("slices").json() == {"slices": []}
    refused(caller.send("DELETE", f"slices/{made['id']}"), 404, "not_found")
    assert Slice.objects.count() == 1


def test_ten_slices_cost_as_many_queries_as_two(caller: Caller, project: Project) -> None:
    costs = []
    for numbers in (range(2), range(2, 10)):
        for number in numbers:
            caller.post("slices", LONG_ALGEBRA | {"name": f"slice {number}"})
        with CaptureQueriesContext(connection) as queries:
            caller.get("slices")
        costs.append(len(queries))
    assert costs[0] == costs[1]
