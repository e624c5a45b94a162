"""The OpenAPI description, generated from the structs that the calls really take and give."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, extend_schema

View = TypeVar("View", bound=Callable[..., Any])

_described: set[type] = set()


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "review.api.v1.auth.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class ErrorDetail(msgspec.Struct):
    code: str
    message: str
    fields: dict[str, str]


class ErrorOut(msgspec.Struct):
    error: ErrorDetail


def describe(
    operation: str,
    summary: str,
    *,
    body: type | None = None,
    ndjson: type | None = None,
    answers: dict[int, type | None],
    query: dict[str, tuple[type, str]] | None = None,
) -> Callable[[View], View]:
    """Say what a call takes and answers; every call also answers errors in the one shape."""
    request: dict[str, Any] | None = None
    if body is not None:
        request = {"application/json": _reference(body)}
    if ndjson is not None and request is not None:
        request["application/x-ndjson"] = _reference(ndjson)
    responses: dict[Any, Any] = {
        status: _reference(answer) if answer else None for status, answer in answers.items()
    }
    responses["4XX"] = _reference(ErrorOut)
    parameters: list[Any] = [
        OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=text)
        for name, (kind, text) in (query or {}).items()
    ]
    return extend_schema(
        operation_id=operation,
        summary=summary,
        request=request,
        responses=responses,
        parameters=parameters,
    )


def _reference(kind: type) -> dict[str, Any]:
    _described.add(kind)
    references, _ = msgspec.json.schema_components([kind], ref_template=REFERENCE)
    return references[0]


REFERENCE = "#/components/schemas/{name}"


def add_components(result: dict[str, Any], **_context: object) -> dict[str, Any]:
    """Post-processing hook: the structs' own schemas."""
    kinds = sorted(_described, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    schemas: dict[str, Any] = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update({name: components[name] for name in sorted(components)})
    return result
