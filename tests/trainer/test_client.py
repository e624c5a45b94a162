import gzip
import json
import logging
import subprocess
import sys
import traceback

import pytest

from tests.trainer.payloads import make_prompt, make_rollout, make_run, make_verdict
from tests.trainer.recording_server import TOKEN, Answer, Failure, RecordingServer
from trainer.client import AssayClient, AssayError, AssayUnavailable, NoRewardTable
from trainer.wire import AuditPayload, LabelPayload, SignalReason, VerifierPayload, storable

ASSIGNMENT = {
    "id": 5,
    "lease": {"token": "lease-1", "expires_at": "2026-01-01T00:00:00Z"},
    "problem": "7 + 8 = ?",
    "references": ["15"],
    "steps": [{"number": 1, "text": "7 + 8 = 15"}],
    "answer": "15",
}


def refused(client: AssayClient) -> AssayError:
    with pytest.raises(AssayError) as refusal:
        client.send_rollouts("r-1", [make_rollout()])
    return refusal.value


def test_a_run_is_registered_in_the_words_of_the_api(
    client: AssayClient, server: RecordingServer
) -> None:
    assert client.register_run(make_run()) == "r-1"
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/api/v1/runs")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-encoding"] == "gzip"
    assert request.body == {
        "uid": "run-uid",
        "name": "demo",
        "seed": 0,
        "config": {"grpo": {"lr": 0.0002}},
        "group_size": 8,
        "normaliser": "number-1",
        "step_block": 1,
        "verifiers": [
            {"name": "boxed-any", "version": "1", "channel": "correctness", "weight": 1.0}
        ],
    }


def test_prompts_travel_in_the_words_of_the_api(
    client: AssayClient, server: RecordingServer
) -> None:
    assert client.send_prompts("r-1", [make_prompt()]) == 1
    assert server.sent("prompts") == [
        {
            "uid": "p-1",
            "text": "7 + 8 = ?",
            "references": ["15"],
            "domain": "arithmetic",
            "source": "reasoning-gym/chain_sum",
            "split": "train",
            "difficulty": None,
        }
    ]


def test_what_a_judge_was_asked_travels_with_its_verdict(
    client: AssayClient, server: RecordingServer
) -> None:
    judged = make_verdict(record={"raw": ("yes\0", "\ud800"), "tokens": 7})
    client.send_rollouts("r-1", [make_rollout(verdicts=(judged, make_verdict()))])
    (sent,) = server.sent("rollouts")
    records = [verdict.get("record", "none") for verdict in sent["verdicts"]]
    assert records == [{"raw": ["yes\ufffd", "\ufffd"], "tokens": 7}, "none"]


def test_rollouts_travel_in_the_words_of_the_api(
    client: AssayClient, server: RecordingServer
) -> None:
    assert client.send_rollouts("r-1", [make_rollout(reward=None)]) == 1
    assert server.sent("rollouts") == [
        {
            "uid": "c-1",
            "prompt": "p-1",
            "group": "g-1",
            "step": 8,
            "policy": "step-7",
            "messages": [{"role": "assistant", "content": "so 15"}],
            "tokens": 34,
            "truncated": False,
            "probe": False,
            "reward": None,
            "table_version": 2,
            "verdicts": [
                {
                    "verifier": "boxed-any",
                    "version": "1",
                    "outcome": "pass",
                    "score": None,
                    "extracted": "15",
                    "path": "boxed",
                    "form": "integer",
                    "candidates": 1,
                    "seconds": 0.0001,
                    "detail": "",
                }
            ],
        }
    ]


def test_text_that_no_database_holds_is_replaced(
    client: AssayClient, server: RecordingServer
) -> None:
    verdict = make_verdict(extracted="1\0", detail="\udfff")
    client.send_rollouts(
        "r-1", [make_rollout(content="a\0b\ud800c\u202e\N{PILE OF POO}", verdicts=(verdict,))]
    )
    [rollout] = server.sent("rollouts")
    assert rollout["messages"][0]["content"] == "a\ufffdb\ufffdc\u202e\N{PILE OF POO}"
    assert rollout["verdicts"][0]["extracted"] == "1\ufffd"
    assert rollout["verdicts"][0]["detail"] == "\ufffd"
    assert storable("plain") == "plain"


def test_a_reward_that_is_no_number_is_not_sent(
    client: AssayClient, server: RecordingServer
) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        client.send_rollouts("r-1", [make_rollout(reward=float("nan"))])
    assert server.requests == []


def test_steps_and_the_end_are_reported(client: AssayClient, server: RecordingServer) -> None:
    client.complete_step("r-1", 8)
    client.finish_run("r-1", "failed")
    assert server.updates() == [{"completed_step": 8}, {"status": "failed"}]
    assert client.run("r-1")["id"] == "r-1"


def test_a_refusal_carries_the_words_of_the_api(
    client: AssayClient, server: RecordingServer
) -> None:
    server.failures.append(422)
    error = refused(client)
    assert not isinstance(error, AssayUnavailable)
    assert (error.status, error.code, error.fields) == (422, "scripted", {"a": ["b"]})
    assert str(error) == "422 scripted: as told, [token]"


@pytest.mark.parametrize("failure", [500, 502, 503, 429, 408, 301, "cut-before", "cut-after"])
def test_a_server_that_cannot_answer_now_is_unavailable(
    client: AssayClient, server: RecordingServer, failure: Failure
) -> None:
    server.failures.append(failure)
    assert isinstance(refused(client), AssayUnavailable)
    assert client.send_rollouts("r-1", [make_rollout()]) == 1


def test_a_server_that_is_away_is_unavailable(client: AssayClient, server: RecordingServer) -> None:
    server.stop()
    error = refused(client)
    assert isinstance(error, AssayUnavailable)
    assert error.status is None
    server.start()
    assert client.send_rollouts("r-1", [make_rollout()]) == 1


@pytest.mark.parametrize("body", [None, [], {}, {"received": "many"}, "<html>"])
def test_a_success_that_is_not_the_apis_is_unavailable(
    client: AssayClient, server: RecordingServer, body: object
) -> None:
    server.answers["POST /api/v1/runs/r-1/rollouts"] = Answer(200, body)
    error = refused(client)
    assert isinstance(error, AssayUnavailable)
    assert error.code == "bad_answer"


@pytest.mark.parametrize("body", ["<html>", [], {"error": "no"}, {"error": {"fields": 3}}, None])
def test_a_refusal_in_other_words_is_a_refusal(
    client: AssayClient, server: RecordingServer, body: object
) -> None:
    server.answers["POST /api/v1/runs/r-1/rollouts"] = Answer(413, body)
    error = refused(client)
    assert (type(error), error.status, error.fields) == (AssayError, 413, {})


def test_a_table_is_pulled_once_per_version(client: AssayClient, server: RecordingServer) -> None:
    with pytest.raises(NoRewardTable):
        client.reward_table("r-1", etag=None)
    server.table = {"version": 3}
    first = client.reward_table("r-1", etag=None)
    assert (json.loads(first.text or ""), first.etag, first.version) == ({"version": 3}, '"v3"', 3)
    again = client.reward_table("r-1", etag=first.etag)
    assert (again.text, again.etag) == (None, '"v3"')
    server.table = {"version": 4}
    assert client.reward_table("r-1", etag=first.etag).version == 4


def test_a_pinned_table_is_asked_for_by_version(
    client: AssayClient, server: RecordingServer
) -> None:
    server.table = {"version": 3}
    client.reward_table("r-1", version=3)
    assert server.requests[-1].path == "/api/v1/runs/r-1/reward-table?version=3"


def test_a_table_that_is_not_json_is_no_table(client: AssayClient, server: RecordingServer) -> None:
    server.answers["GET /api/v1/runs/r-1/reward-table"] = Answer(200, "welcome to the hotel")
    with pytest.raises(AssayUnavailable):
        client.reward_table("r-1")


def test_a_signal_comes_with_its_reasons_and_is_pulled_once(
    client: AssayClient, server: RecordingServer
) -> None:
    reason = {"code": "precision", "state": "hold", "text": "at most 40 % is right", "later": 1}
    body = {"state": "hold", "reasons": [reason], "at": "2026-01-01T00:00:00Z", "later": 1}
    server.answers["GET /api/v1/runs/r-1/signal"] = Answer(200, body, {"ETag": '"7"'})
    signal = client.signal("r-1")
    assert (signal.state, signal.at, signal.etag) == ("hold", "2026-01-01T00:00:00Z", '"7"')
    assert signal.reasons == (SignalReason("precision", "hold", "at most 40 % is right"),)
    server.answers["GET /api/v1/runs/r-1/signal"] = Answer(304, headers={"ETag": '"7"'})
    again = client.signal("r-1", etag=signal.etag)
    assert (again.state, again.reasons, again.etag) == (None, (), '"7"')
    assert server.requests[-1].headers["if-none-match"] == '"7"'


@pytest.mark.parametrize(
    "changes", [{"state": "panic"}, {"reasons": None}, {"reasons": [{"code": "x"}]}, {"at": ...}]
)
def test_a_signal_in_other_words_is_no_signal(
    client: AssayClient, server: RecordingServer, changes: dict[str, object]
) -> None:
    body: dict[str, object] = {"state": "ok", "reasons": [], "at": None} | changes
    told = {name: value for name, value in body.items() if value is not ...}
    server.answers["GET /api/v1/runs/r-1/signal"] = Answer(200, told)
    with pytest.raises(AssayUnavailable) as refusal:
        client.signal("r-1")
    assert refusal.value.code == "bad_answer"


def test_an_audit_is_created_started_and_followed(
    client: AssayClient, server: RecordingServer
) -> None:
    wave = {"number": 1, "planned": 24, "labelled": 3, "skipped": 0, "state": "open"}
    window = {
        "id": 2,
        "first_step": 1,
        "last_step": 8,
        "state": "open",
        "frame_size": 64,
        "waves": [wave],
    }
    draft = {"id": 1, "queue": 9, "state": "draft"}
    server.answers |= {
        "POST /api/v1/runs/r-1/audits": Answer(201, draft),
        "POST /api/v1/audits/1/start": Answer(200),
        "GET /api/v1/audits/1": Answer(200, draft | {"state": "active", "windows": [window]}),
    }
    rule = AuditPayload("first", 1, None, 8, 96, 4, {"recall": 1})
    created = client.create_audit("r-1", rule)
    assert (created.id, created.queue, created.windows) == ("1", "9", ())
    client.start_audit(created.id)
    [found] = client.audit(created.id).windows
    assert (found.id, found.last_step, found.waves[0].planned) == ("2", 8, 24)
    assert server.requests[0].body == {
        "name": "first",
        "first_step": 1,
        "last_step": None,
        "window_steps": 8,
        "budget": 96,
        "waves": 4,
        "focus": {"recall": 1},
        "shows_reference": True,
        "second_reviews": {"contradictions": False, "share": 0.0},
    }


def test_a_reviewer_takes_and_labels(client: AssayClient, server: RecordingServer) -> None:
    server.answers |= {
        "POST /api/v1/queues/9/take": Answer(200, {"assignment": ASSIGNMENT}),
        "POST /api/v1/assignments/5/label": Answer(201, {"id": 7, "is_late": True}),
        "POST /api/v1/assignments/5/skip": Answer(204),
        "POST /api/v1/assignments/5/heartbeat": Answer(200, {"lease": {}}),
        "POST /api/v1/assignments/5/release": Answer(200),
    }
    assignment = client.take("9")
    assert assignment is not None
    assert (assignment.id, assignment.references) == ("5", ("15",))
    assert assignment.steps == ((1, "7 + 8 = 15"),)
    receipt = client.label(assignment, LabelPayload("key-1", "correct", no_wrong_step=True))
    assert (receipt.id, receipt.is_late) == ("7", True)
    client.heartbeat(assignment)
    client.skip(assignment, reason="not my field")
    client.release(assignment)
    assert server.requests[1].body == {
        "token": "lease-1",
        "client_key": "key-1",
        "answer": "correct",
        "earliest_wrong_step": None,
        "no_wrong_step": True,
        "is_hack": False,
        "note": "",
    }
    assert server.requests[3].body == {"token": "lease-1", "reason": "not my field"}


def test_an_empty_queue_gives_no_assignment(client: AssayClient, server: RecordingServer) -> None:
    server.answers["POST /api/v1/queues/9/take"] = Answer(204)
    assert client.take("9") is None


def test_a_lead_builds_and_publishes_a_table(client: AssayClient, server: RecordingServer) -> None:
    draft = {"id": 4, "version": 3, "state": "draft", "preview": {"groups_changed": 2}}
    server.answers |= {
        "POST /api/v1/runs/r-1/reward-tables": Answer(201, draft),
        "POST /api/v1/reward-tables/4/publish": Answer(200, {}),
    }
    table = client.build_table("r-1", rule="posterior", valid_from_step=9, valid_to_step=18)
    assert (table.id, table.version, table.preview) == ("4", 3, {"groups_changed": 2})
    client.publish_table(table.id)
    assert server.requests[0].body == {
        "rule": "posterior",
        "valid_from_step": 9,
        "valid_to_step": 18,
    }


def test_estimates_come_with_their_intervals(client: AssayClient, server: RecordingServer) -> None:
    estimate = {
        "estimand": "recall",
        "window": None,
        "point": None,
        "low": None,
        "high": None,
        "level": 0.95,
        "method": "difference",
        "n": 0,
        "n_eff": 0.0,
        "reason": "no labels",
        "added_later": 1,
    }
    server.answers["GET /api/v1/runs/r-1/estimates"] = Answer(200, {"estimates": [estimate]})
    [found] = client.estimates("r-1")
    assert (found.estimand, found.point, found.reason) == ("recall", None, "no labels")


def test_the_token_appears_in_no_log_and_no_exception(
    client: AssayClient, server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    errors = []
    failures: list[Failure] = [401, 500, "cut-after"]
    for failure in failures:
        server.failures.append(failure)
        errors.append(refused(client))
    server.stop()
    errors.append(refused(client))
    told = [repr(client), caplog.text]
    for error in errors:
        told += [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    assert len(caplog.records) > 0
    assert not [text for text in told if TOKEN in text]


@pytest.mark.parametrize("token", ["", "secret\n", "sec ret", "secr\u00e9t", "secret\0"])
def test_an_unusable_token_is_refused_without_quoting_it(token: str) -> None:
    with pytest.raises(ValueError, match="the token") as refusal:
        AssayClient("http://127.0.0.1:1", token)
    assert "sec" not in str(refusal.value)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://127.0.0.1"])
def test_an_address_that_is_not_http_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        AssayClient(url, TOKEN)


def test_bodies_are_compressed(client: AssayClient, server: RecordingServer) -> None:
    rollouts = [make_rollout(f"c-{number}", content="again " * 200) for number in range(50)]
    client.send_rollouts("r-1", rollouts)
    plain = json.dumps({"rollouts": [rollout.to_json() for rollout in rollouts]})
    length = int(server.requests[0].headers["content-length"])
    assert length < len(gzip.compress(plain.encode())) * 2 < len(plain) / 4


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("trainer.client, trainer.wire, trainer.outbox, trainer.spool", "torch numpy django"),
        ("trainer.rewards, trainer.verifiers", "torch django"),
    ],
)
def test_the_light_parts_import_nothing_heavy(modules: str, heavy: str) -> None:
    program = f"import sys, {modules}; sys.exit(str(set('{heavy}'.split()) & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr.strip() == "set()"


def test_a_monitor_has_no_weight_in_the_reward_unless_it_is_given_one() -> None:
    weights = [
        VerifierPayload("judge", "1").to_json()["weight"],
        VerifierPayload("eyes", "1", channel="monitor").to_json()["weight"],
        VerifierPayload("judge", "1", weight=0.5).to_json()["weight"],
    ]
    assert weights == [1.0, 0.0, 0.5]
