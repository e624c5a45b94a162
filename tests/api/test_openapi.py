"""The published schema is the code's, and it is whole."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema

from tests import ROOT

PUBLISHED = ROOT / "review" / "api" / "v1" / "openapi.yaml"


@pytest.fixture(scope="module")
def generated() -> dict[str, Any]:
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return schema


@pytest.fixture
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    return loaded


def test_the_published_schema_is_what_the_code_says(generated: dict[str, Any]) -> None:
    text = OpenApiYamlRenderer().render(generated, renderer_context={})
    assert PUBLISHED.read_bytes() == text, "make openapi writes it anew"


def test_the_schema_is_valid(generated: dict[str, Any]) -> None:
    validate_schema(generated)


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    found = set(references(schema))
    assert len(found) > 20
    for reference in found:
        node = schema
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert {"type", "enum"} & node.keys(), reference


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_every_call_can_be_refused_in_the_one_shape(schema: dict[str, Any]) -> None:
    for call, operation in operations(schema):
        refusal = operation["responses"]["4XX"]["content"]["application/json"]["schema"]
        assert refusal == {"$ref": "#/components/schemas/ErrorOut"}, call
        assert operation["security"] == [{"token": []}], call


def test_every_call_has_a_name_of_its_own(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(schema)]
    assert len(set(names)) == len(names)


def test_a_reward_table_is_an_object(schema: dict[str, Any]) -> None:
    responses = schema["paths"]["/api/v1/runs/{run_id}/reward-table"]["get"]["responses"]
    assert responses["200"]["content"]["application/json"]["schema"]["type"] == "object"
    assert "304" in responses


def test_batches_are_taken_as_json_and_as_lines(schema: dict[str, Any]) -> None:
    for batch, row in [("prompts", "PromptIn"), ("rollouts", "IncomingRollout")]:
        content = schema["paths"][f"/api/v1/runs/{{run_id}}/{batch}"]["post"]["requestBody"][
            "content"
        ]
        assert content.keys() == {"application/json", "application/x-ndjson"}
        lines = content["application/x-ndjson"]["schema"]
        assert lines == {"$ref": f"#/components/schemas/{row}"}
