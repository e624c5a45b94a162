"""A caller of the API with its token, and the one shape of a refusal."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
from django.http import HttpResponse
from django.test import Client

from review.accounts.models import Project
from review.rollouts.models import Slice
from review.rollouts.services import create_slice
from review.runs.models import Run
from tests import builders

# A number that JSON cannot spell goes into a body as this text, and out of it without its quotes.
BARE = "bare:"


def json_bytes(body: object) -> bytes:
    """The body as JSON; "bare:NaN" in it becomes NaN."""
    text = msgspec.json.encode(body)
    while (start := text.find(b'"bare:')) >= 0:
        end = text.index(b'"', start + 1)
        text = text[:start] + text[start + len(b'"bare:') : end] + text[end + 1 :]
    return text


@dataclass(frozen=True)
class Caller:
    secret: str

    def send(
        self,
        method: str,
        path: str,
        data: bytes = b"",
        *,
        content_type: str = "application/json",
        **headers: str,
    ) -> HttpResponse:
        """Any bytes; an underscore in a header's name stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Client().generic(
            method,
            f"/api/v1/{path}",
            data,
            content_type=content_type if data else "",
            headers={"Authorization": f"Bearer {self.secret}", **named},
        )

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: object = None, **headers: str) -> HttpResponse:
        return self.send("POST", path, json_bytes({} if body is None else body), **headers)

    def patch(self, path: str, body: object) -> HttpResponse:
        return self.send("PATCH", path, json_bytes(body))


def refused(response: HttpResponse, status: int, code: str, field: str | None = None) -> Any:
    """The fields of the refusal, which must be this one, in the one shape."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    body = json.loads(response.content)
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message", "fields"}
    assert body["error"]["code"] == code
    assert body["error"]["message"]
    if field is not None:
        assert list(body["error"]["fields"]) == [field]
    return body["error"]["fields"]


def rollout(**changes: Any) -> dict[str, Any]:
    """A rollout as it travels."""
    wire: dict[str, Any] = msgspec.to_builtins(builders.make_rollout())
    return wire | changes


def group(name: str, size: int = 4, **changes: Any) -> list[dict[str, Any]]:
    return [rollout(uid=f"{name}-{k}", group=name, **changes) for k in range(size)]


def make_slice(project: Project, field: str, op: str, value: str | int | bool) -> Slice:
    condition = {"field": field, "op": op, "value": value}
    return create_slice(
        project=project, name=f"{field} {op} {value}", conditions=[condition], actor="test"
    )


def rollouts_path(run: Run) -> str:
    return f"runs/{run.pk}/rollouts"
