"""POST runs/{id}/prompts."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from review.accounts.models import Project
from review.runs.models import Prompt, Run
from tests import builders
from tests.api.calls import Caller, json_bytes, refused

PROMPT: dict[str, Any] = {
    "uid": "p",
    "text": "7 + 8",
    "references": ["15"],
    "domain": "arithmetic",
    "source": "made up",
    "split": "train",
}


@pytest.fixture
def path(project: Project) -> str:
    return f"runs/{builders.make_run(project).pk}/prompts"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"uid": ""}, "uid"),
        ({"text": ""}, "text"),
        ({"text": None}, "text"),
        ({"text": "x" * 1_000_001}, "text"),
        ({"references": "15"}, "references"),
        ({"references": [15]}, "references[0]"),
        ({"references": ["1"] * 101}, "references"),
        ({"domain": "a|b"}, "domain"),
        ({"domain": "arithmetic\n"}, "domain"),
        ({"domain": "d" * 61}, "domain"),
        ({"source": "s" * 121}, "source"),
        ({"released_on": "yesterday"}, "released_on"),
        ({"split": "test"}, "split"),
        ({"difficulty": -1}, "difficulty"),
        ({"difficulty": 101}, "difficulty"),
        ({"difficulty": 0.5}, "difficulty"),
        ({"answer": "15"}, "answer"),
    ],
)
def test_a_bad_prompt_is_named_and_nothing_of_its_batch_is_stored(
    caller: Caller, path: str, changes: dict[str, Any], field: str
) -> None:
    batch = [PROMPT, PROMPT | {"uid": "q"} | changes]
    response = caller.post(path, {"prompts": batch})
    refused(response, 400, "invalid_body", f"prompts[1].{field}")
    assert not Prompt.objects.exists()


def test_prompts_come_as_lines_too(caller: Caller, path: str) -> None:
    data = json_bytes(PROMPT) + b"\r\n" + json_bytes(PROMPT | {"uid": "q"})
    answer = caller.send("POST", path, data, content_type="application/x-ndjson; charset=utf-8")
    assert answer.json() == {"received": 2}


def test_a_prompt_is_stored_once_with_nul_replaced(caller: Caller, path: str) -> None:
    prompt = PROMPT | {"text": "7\x008", "references": ["\x00"], "source": "\x00"}
    for _ in range(2):
        assert caller.post(path, {"prompts": [prompt, prompt]}).json() == {"received": 2}
    stored = Prompt.objects.get()
    assert (stored.text, stored.references, stored.source) == ("7\ufffd8", ["\ufffd"], "\ufffd")


@pytest.mark.parametrize("difficulty", [None, 0, 100])
def test_a_prompt_has_its_sources_level_or_none(
    caller: Caller, path: str, difficulty: int | None
) -> None:
    caller.post(path, {"prompts": [PROMPT | {"difficulty": difficulty}]})
    assert Prompt.objects.get().difficulty == difficulty


@pytest.mark.parametrize("changes", [{"text": "8 + 7"}, {"references": []}, {"domain": "algebra"}])
def test_a_stored_prompt_does_not_change(
    caller: Caller, path: str, changes: dict[str, Any]
) -> None:
    caller.post(path, {"prompts": [PROMPT]})
    batch = [PROMPT | {"uid": "new"}, PROMPT | changes]
    refused(caller.post(path, {"prompts": batch}), 409, "conflict", "prompts[1].uid")
    assert Prompt.objects.count() == 1


def test_two_prompts_of_one_uid_in_a_batch_are_refused(caller: Caller, path: str) -> None:
    batch = [PROMPT, PROMPT | {"text": "other"}]
    refused(caller.post(path, {"prompts": batch}), 409, "conflict", "prompts[1].uid")
    assert not Prompt.objects.exists()


def test_another_project_may_have_its_own_prompt_of_the_same_uid(
    caller: Caller, path: str, run: Run
) -> None:
    builders.make_prompt(builders.make_run(), uid="p", text="theirs")
    assert caller.post(path, {"prompts": [PROMPT]}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_the_same_prompts_from_several_threads_in_any_order_are_stored_once(
    caller: Caller, path: str
) -> None:
    prompts = [PROMPT | {"uid": f"p{number:04}"} for number in range(300)]

    def send(backwards: bool) -> int:
        try:
            return caller.post(path, {"prompts": prompts[:: -1 if backwards else 1]}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(send, [False, True] * 2)) == [200] * 4
    assert Prompt.objects.count() == 300
