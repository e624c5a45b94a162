"""The lookup that all hooks share, and where its table comes from."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests import ROOT
from tests.trainer.integrations.conftest import SetUp
from tests.trainer.recording_server import TOKEN, Answer, RecordingServer
from tests.trainer.test_reward_table import make_table
from trainer.client import AssayClient
from trainer.integrations import scoring
from trainer.integrations.scoring import (
    Completion,
    PulledTables,
    Scorer,
    Settings,
    SettingsError,
    TableFile,
    references_in,
    text_of,
)
from trainer.rewards import Reward, TableError
from trainer.verifiers import Item, build

RIGHT, WRONG, HEDGE = r"\boxed{15}", r"\boxed{16}", r"\boxed{15} or \boxed{16}"


def completion(response: str, *references: str, **changes: Any) -> Completion:
    item = Item("7 + 8", response, references or ("15",))
    return Completion(item, **({"domain": "arithmetic"} | changes))


def test_a_group_is_paid_with_its_answer_shares_and_a_single_one_without(set_up: SetUp) -> None:
    set_up({})
    group = [completion(text) for text in (RIGHT, RIGHT, WRONG, HEDGE)]
    assert [one.reward for one in scoring.scorer().score_group(group)] == [
        Reward(1005 / 1024, "cell"),
        Reward(1005 / 1024, "cell"),
        Reward(0.0, "verdict"),
        Reward(1 / 1024, "cell"),
    ]
    assert scoring.scorer().score(completion(RIGHT)).reward == Reward(1000 / 1024, "model")


def test_the_share_is_of_the_group_as_the_server_sees_it(set_up: SetUp) -> None:
    set_up({})
    cut = completion(RIGHT, truncated=True)
    cells = [one.cell for one in scoring.scorer().score_group([cut, *[completion(RIGHT)] * 3])]
    assert [cell.share_bin for cell in cells] == [None, 3, 3, 3]


def test_without_a_table_rewards_are_raw_verdicts(set_up: SetUp) -> None:
    set_up()
    scored = [
        scoring.scorer().score(one)
        for one in (completion(RIGHT), completion(WRONG), Completion(Item("", RIGHT, ())))
    ]
    assert [one.reward.value for one in scored] == [1.0, 0.0, None]
    assert [one.value for one in scored] == [1.0, 0.0, 0.0]
    assert [scoring.raw_value(one) for one in scored] == [1.0, 0.0, None]
    assert scored[0].table_version is None


def test_a_probe_hit_has_a_cell_of_its_own(set_up: SetUp) -> None:
    set_up({"classes": {"p": {"15": 0.5}}}, PROBE="1")
    honest = scoring.scorer().score(completion(RIGHT, prompt="p"))
    hack = scoring.scorer().score(completion(HEDGE, prompt="p"))
    assert (honest.reward.level, honest.cell.probe) == ("class", False)
    assert hack.cell.probe


def test_what_is_logged_is_numbers_and_texts(set_up: SetUp) -> None:
    set_up({})
    fields = scoring.log_fields(scoring.scorer().score(completion(RIGHT)))
    assert fields == {
        "verdict": "pass",
        "cell": "pass/boxed/integer/1|s-|a-|p0|arithmetic",
        "table_version": 3,
        "level": "model",
        "abstained": 0,
    }


def test_several_verifiers_make_one_signature(set_up: SetUp) -> None:
    verifiers = '["boxed-any", {"name": "math", "params": {"timeout_s": 9.0}}]'
    set_up(VERIFIER=verifiers)
    scored = scoring.scorer().score(completion(RIGHT))
    assert scored.cell.signature == "pass/boxed/integer/1&pass/boxed/integer/1"


def test_a_table_for_other_verifiers_is_refused(set_up: SetUp) -> None:
    set_up({}, VERIFIER="last-number")
    with pytest.raises(SettingsError, match=r"is for boxed-any@1, and last-number@1 judges here"):
        scoring.scorer().score(completion(RIGHT))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"VERIFIER": ""}, "ASSAY_VERIFIER: name"),
        ({"VERIFIER": '{"name": 3'}, "ASSAY_VERIFIER: not JSON"),
        ({"VERIFIER": '{"nom": "math"}'}, "ASSAY_VERIFIER: a verifier is"),
        ({"VERIFIER": "[3]"}, "ASSAY_VERIFIER: a verifier is"),
        ({"VERIFIER": "majority"}, "unknown verifier"),
        ({"RUN": "r-1"}, "ASSAY_URL, ASSAY_TOKEN, ASSAY_RUN"),
        ({"RUN": "r", "URL": "http://x", "TOKEN": "t", "TABLE": "x"}, "ASSAY_TABLE"),
        ({"PROBE": "yes"}, "ASSAY_PROBE"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(
    set_up: SetUp, variables: dict[str, str], said: str
) -> None:
    set_up(**variables)
    with pytest.raises(ValueError, match=said):
        scoring.scorer()


def test_a_file_that_holds_no_table_is_refused(set_up: SetUp) -> None:
    set_up({"rule": "majority"})
    with pytest.raises(TableError, match="rule"):
        scoring.scorer()


@pytest.fixture
def pulled(client: AssayClient) -> PulledTables:
    return PulledTables(client, "r-1", refresh_s=0)


def version(tables: PulledTables | TableFile) -> int | None:
    table = tables.current()
    return None if table is None else table.version


def test_a_table_is_pulled_when_it_is_there_and_when_it_is_new(
    server: RecordingServer, pulled: PulledTables
) -> None:
    assert version(pulled) is None
    server.table = make_table(version=1)
    assert [version(pulled), version(pulled)] == [1, 1]
    assert server.requests[-1].headers["if-none-match"] == '"v1"'
    server.table = make_table(version=2)
    assert version(pulled) == 2


def test_the_last_good_table_stays_while_the_server_is_away(
    server: RecordingServer, pulled: PulledTables, capsys: pytest.CaptureFixture[str]
) -> None:
    server.table = make_table(version=1)
    assert version(pulled) == 1
    server.failures.extend([503, 401, "cut-before"])
    server.table = make_table(version=2)
    assert [version(pulled) for _ in range(3)] == [1, 1, 1]
    assert version(pulled) == 2
    server.table = make_table(version=3, rule="majority")
    assert version(pulled) == 2
    said = capsys.readouterr().err
    assert said.count("cannot be refreshed") == 2
    assert TOKEN not in said


def test_a_server_that_never_answered_stops_the_training(
    server: RecordingServer, pulled: PulledTables
) -> None:
    """Raw verdicts because of a typing error would go unnoticed."""
    server.failures.append(401)
    with pytest.raises(SettingsError, match="ASSAY_TOKEN") as refusal:
        pulled.current()
    assert TOKEN not in str(refusal.value)
    server.answers["GET /api/v1/runs/r-1/reward-table"] = Answer(
        404, {"error": {"code": "not_found", "message": "no such run", "fields": {}}}
    )
    with pytest.raises(SettingsError, match="no such run"):
        pulled.current()


def test_a_table_is_not_asked_for_again_too_soon(
    server: RecordingServer, client: AssayClient
) -> None:
    server.table = make_table(version=1)
    scorer = Scorer((build("boxed-any"),), PulledTables(client, "r-1", refresh_s=60))
    for _ in range(5):
        scorer.score(completion(RIGHT))
    assert len(server.requests) == 1


def test_the_settings_name_the_server(server: RecordingServer, set_up: SetUp) -> None:
    server.table = make_table(version=7)
    set_up(URL=server.url, TOKEN=TOKEN, RUN="r-1")
    assert scoring.scorer().score(completion(RIGHT)).table_version == 7
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_token_is_in_no_representation() -> None:
    environment = {"ASSAY_URL": "http://x", "ASSAY_TOKEN": "assay_secret", "ASSAY_RUN": "r"}
    assert "assay_secret" not in repr(Settings.from_environment(environment))


@pytest.mark.parametrize(
    ("value", "references"),
    [
        ("15", ("15",)),
        (15, ("15",)),
        (["15", ["fifteen"], None], ("15", "fifteen")),
        (None, ()),
        ([], ()),
    ],
)
def test_references_come_in_several_shapes(value: Any, references: tuple[str, ...]) -> None:
    assert references_in(value) == references


@pytest.mark.parametrize("value", [{"target": "15"}, b"15", [{"a": 1}]])
def test_what_is_no_reference_is_refused(value: Any) -> None:
    with pytest.raises(SettingsError, match="a reference must be"):
        references_in(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ([{"role": "system", "content": "x"}, {"role": "user", "content": "a"}], "a"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}], "a"),
        ([{"role": "assistant", "content": None}], ""),
        ([], ""),
    ],
)
def test_prompts_and_completions_are_texts_or_messages(value: Any, text: str) -> None:
    assert text_of(value) == text


LIGHT = """
import json, sys
import trainer.integrations
from trainer.integrations import openrlhf, prime_verifiers, scoring, slime, trl, verl
heavy = {"torch", "transformers", "trl", "verl", "openrlhf", "verifiers", "slime", "django"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""


def test_no_integration_needs_its_framework_to_be_imported() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(found.stdout) == []
