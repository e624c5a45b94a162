"""Bodies of every call: bounded, decompressed, strictly read."""

import gzip
import io
import json
import zlib

import httpx
import pytest
from django.test import RequestFactory
from django.urls import resolve
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from review.accounts.models import Project
from review.rollouts.models import Rollout
from review.runs.models import Run
from tests import builders
from tests.api.calls import Caller, group, json_bytes, refused, rollout, rollouts_path

MIB = 1024 * 1024


def test_a_gzipped_body_is_taken(caller: Caller, run: Run) -> None:
    data = gzip.compress(json_bytes({"rollouts": group("g")}))
    response = caller.send("POST", rollouts_path(run), data, Content_Encoding="gzip")
    assert response.json() == {"received": 4}
    assert Rollout.objects.count() == 4


WHOLE = gzip.compress(json_bytes({"rollouts": []}))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"no gzip", id="not gzip"),
        pytest.param(WHOLE[:-12], id="cut in the data"),
        pytest.param(WHOLE[:-1], id="cut in the check sum"),
        pytest.param(WHOLE[:-8] + bytes(8), id="wrong check sum"),
        pytest.param(WHOLE + WHOLE, id="two members"),
        pytest.param(WHOLE + b"more", id="something behind it"),
        pytest.param(zlib.compress(b"{}"), id="zlib, not gzip"),
    ],
)
def test_an_invalid_gzip_body_is_refused(caller: Caller, run: Run, data: bytes) -> None:
    response = caller.send("POST", rollouts_path(run), data, Content_Encoding="gzip")
    refused(response, 400, "invalid_body", "body")


def test_another_encoding_is_refused(caller: Caller, run: Run) -> None:
    response = caller.send("POST", rollouts_path(run), b"{}", Content_Encoding="br")
    refused(response, 415, "unsupported_media_type", "Content-Encoding")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "text/json"])
def test_another_content_type_is_refused(caller: Caller, run: Run, kind: str) -> None:
    response = caller.send("POST", rollouts_path(run), b'{"rollouts": []}', content_type=kind)
    refused(response, 415, "unsupported_media_type")


def test_a_body_over_the_limit_is_refused_at_its_length_and_inflated(
    caller: Caller, run: Run, settings: Settings
) -> None:
    settings.MAX_BATCH_BYTES = 4096
    fits = json_bytes({"rollouts": []}).ljust(4096)
    for data, encoding in [(fits, ""), (gzip.compress(fits), "gzip")]:
        answer = caller.send("POST", rollouts_path(run), data, Content_Encoding=encoding)
        assert answer.json() == {"received": 0}
    for data, encoding in [(fits + b" ", ""), (gzip.compress(fits + b" "), "gzip")]:
        answer = caller.send("POST", rollouts_path(run), data, Content_Encoding=encoding)
        refused(answer, 413, "too_large", "body")
    # As gzip that inflates to little, but is itself over the limit.
    empty_blocks = zlib.compressobj(wbits=31)
    flushed = b"".join(
        empty_blocks.compress(b"") + empty_blocks.flush(zlib.Z_FULL_FLUSH) for _ in range(3)
    )
    padded = flushed + b"\0\0\0\xff\xff" * 2000 + empty_blocks.flush()
    answer = caller.send("POST", rollouts_path(run), padded, Content_Encoding="gzip")
    refused(answer, 413, "too_large", "body")


def test_a_gzip_bomb_is_stopped_at_the_limit(caller: Caller, run: Run) -> None:
    bomb = gzip.compress(bytes(33 * MIB), compresslevel=9) + bytes(10 * MIB)
    response = caller.send("POST", rollouts_path(run), bomb, Content_Encoding="gzip")
    refused(response, 413, "too_large", "body")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_who_sends_200_mb_gets_an_answer(live_server: LiveServer) -> None:
    run = builders.make_run()
    secret = builders.make_token(run.project, "ingest")
    response = httpx.post(
        f"{live_server.url}/api/v1/{rollouts_path(run)}",
        content=b" " * (200 * 1000 * 1000),
        headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
        timeout=60,
    )
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"rollouts": [', id="cut"),
        pytest.param(b"\xff\xfe{}", id="UTF-16 mark"),
        pytest.param(b'{"rollouts": "\xff"}', id="no UTF-8 in a value"),
        pytest.param(b'{"\xff": []}', id="no UTF-8 in a key"),
        pytest.param(b'{"rollouts": "\xed\xa0\x80"}', id="surrogate in UTF-8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"rollouts":' + b"[" * 100_000, id="deep inside"),
        pytest.param(b'{"rollouts":' * 2_000 + b"1" + b"}" * 2_000, id="deep objects"),
        pytest.param(b'{"rollouts": "\x00"}', id="bare NUL"),
        pytest.param(b"{} {}", id="two values"),
        pytest.param(b"null", id="null"),
        pytest.param(b" ", id="blank"),
    ],
)
def test_what_is_no_json_object_is_refused(caller: Caller, run: Run, data: bytes) -> None:
    response = caller.send("POST", rollouts_path(run), data)
    refused(response, 400, "invalid_body")


def test_a_body_of_unknown_length_is_asked_for_its_length(caller: Caller, run: Run) -> None:
    response = caller.send("PATCH", f"runs/{run.pk}", Transfer_Encoding="chunked")
    refused(response, 411, "length_required")


def test_a_call_that_takes_nothing_refuses_fields(caller: Caller, run: Run) -> None:
    audit = builders.make_audit(run)
    response = caller.post(f"audits/{audit.pk}/start", {"at_once": True})
    refused(response, 400, "invalid_body", "at_once")


def test_a_very_long_unknown_field_is_not_sent_back(caller: Caller, run: Run) -> None:
    response = caller.post(rollouts_path(run), {"rollouts": [rollout(**{"x" * 100_000: 1})]})
    refused(response, 400, "invalid_body")
    assert len(response.content) < 1000


class BrokenConnection(io.BytesIO):
    def read(self, *_: object) -> bytes:
        raise ConnectionResetError


def test_a_connection_that_breaks_inside_the_body_is_no_error_of_the_server(
    caller: Caller, run: Run
) -> None:
    path = f"/api/v1/{rollouts_path(run)}"
    request = RequestFactory().post(
        path, headers={"Authorization": f"Bearer {caller.secret}"}, content_type="application/json"
    )
    request.META["CONTENT_LENGTH"] = "10"
    request._stream = BrokenConnection()
    view, args, kwargs = resolve(path)
    response = view(request, *args, **kwargs)
    assert response.status_code == 400
    assert json.loads(response.render().content)["error"]["code"] == "invalid_body"


def test_an_unknown_path_and_method_are_refused_in_the_same_shape(
    caller: Caller, project: Project
) -> None:
    refused(caller.get("nothing/here"), 404, "not_found")
    refused(caller.get("runs/1"), 404, "not_found")
    refused(caller.send("DELETE", "runs"), 405, "method_not_allowed")
    refused(caller.send("OPTIONS", "runs"), 405, "method_not_allowed")


def test_an_answer_in_html_is_not_to_be_had(caller: Caller, run: Run) -> None:
    refused(caller.get(f"runs/{run.pk}", Accept="text/html"), 406, "refused")
