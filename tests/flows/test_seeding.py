import json
from collections import Counter
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.test import Client

from review.accounts.models import Membership, Project, Role, ServiceToken, User
from review.accounts.queries import usable_token
from review.flows.management.commands.demo import training_processes
from review.flows.seeding import (
    PEOPLE,
    RAW,
    SEED,
    Demo,
    Plan,
    SeededRun,
    recipe_settings,
    seed_demo,
    seed_loop,
)
from review.labeling.models import Queue
from review.runs.models import Run, RunStatus
from review.sampling.models import AuditRule, RuleState
from trainer.config import TrainerConfig, load_config
from trainer.data import run_payload
from trainer.verifiers import build

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secrets.json"


@pytest.fixture
def demo(file: Path) -> Demo:
    return seed_demo(file)


def rows() -> list[int]:
    models = (User, Project, Membership, ServiceToken, Run, AuditRule, Queue)
    return [model._default_manager.count() for model in models]


def test_seeding_again_changes_nothing(demo: Demo, file: Path) -> None:
    before, kept = rows(), file.read_text()

    assert seed_demo(file) == demo
    assert (rows(), file.read_text()) == (before, kept)


def test_ada_leads_and_everybody_labels_in_one_project_only(demo: Demo) -> None:
    members = Membership.objects.values_list("project__slug", "user__username", "role")

    assert set(members) == {
        ("demo", "ada", Role.LEAD),
        ("demo", "ada", Role.ADMIN),
        ("demo", "ben", Role.REVIEWER),
        ("demo", "cyd", Role.REVIEWER),
        ("demo-raw", "ada", Role.LEAD),
        ("demo-raw", "ada", Role.ADMIN),
        ("demo-raw", "scripted-rubric", Role.REVIEWER),
    }


def test_people_log_in_with_the_passwords_that_are_kept(demo: Demo) -> None:
    assert sorted(demo.passwords) == ["ada", "ben", "cyd"]
    for name, password in demo.passwords.items():
        assert authenticate(username=name, password=password) is not None
    assert not User.objects.get(username="scripted-rubric").has_usable_password()


def test_secrets_are_readable_by_their_owner_only(demo: Demo, file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_lost_secrets_are_made_anew(demo: Demo, file: Path) -> None:
    file.unlink()

    again = seed_demo(file)

    assert again.passwords != demo.passwords
    assert authenticate(username="ben", password=again.passwords["ben"]) is not None
    assert authenticate(username="ben", password=demo.passwords["ben"]) is None
    assert usable_token(again.people.token) is not None


def test_secrets_of_another_database_are_put_in_place(file: Path) -> None:
    stale = "token of a database that is gone"
    names = ["trainer of demo", "trainer of demo-raw", "script of demo-raw"]
    passwords = {"ada": "one-pass-word", "ben": "two-pass-words", "cyd": "no-pass-word-9"}
    file.write_text(json.dumps({"passwords": passwords, "tokens": dict.fromkeys(names, stale)}))

    demo = seed_demo(file)

    assert demo.passwords == passwords
    assert authenticate(username="ada", password="one-pass-word") is not None
    for token in (demo.people.token, demo.raw.token, demo.script_token):
        assert usable_token(token) is not None


def test_tokens_hold_what_their_programs_need(demo: Demo) -> None:
    def scopes(secret: str) -> tuple[str, list[str]]:
        token = usable_token(secret)
        assert token is not None
        return token.project.slug, token.scopes

    assert scopes(demo.people.token) == ("demo", ["ingest", "table"])
    assert scopes(demo.raw.token) == ("demo-raw", ["ingest", "table"])
    assert scopes(demo.script_token) == ("demo-raw", ["label"])


def test_audits_are_started_before_the_first_rollout(demo: Demo) -> None:
    for seeded in (demo.people, demo.raw):
        rules = [queue.rule for queue in seeded.queues]
        assert [rule.state for rule in rules] == [RuleState.ACTIVE, RuleState.ACTIVE]
        assert [(rule.first_step, rule.current.last_step) for rule in rules] == [(1, 8), (9, None)]
        assert [rule.current.budget for rule in rules] == [96, 48]


@pytest.mark.parametrize("plan", [PEOPLE, RAW])
def test_recorded_settings_are_those_of_the_trainer(plan: Plan) -> None:
    config = load_config(plan.recipe).with_overrides(seed=SEED, reward_source=plan.reward_source)

    assert TrainerConfig.from_dict(recipe_settings(plan)) == config


def test_both_runs_start_from_the_same_weights() -> None:
    people, raw = recipe_settings(PEOPLE), recipe_settings(RAW)
    for settings in (people, raw):
        del settings["reward"], settings["run"]["name"]

    assert people == raw


def test_trainer_finds_the_run_that_was_registered_for_it(demo: Demo, client: Client) -> None:
    config = load_config(PEOPLE.recipe).with_overrides(seed=SEED, reward_source="table")
    payload = run_payload(config, PEOPLE.run_uid, build(config.reward.verifier))

    answer = client.post(
        "/api/v1/runs",
        payload.to_json(),
        content_type="application/json",
        headers={"Authorization": f"Bearer {demo.people.token}"},
    )

    assert answer.status_code == 200
    assert answer.json()["id"] == str(demo.people.run.pk)


def names(demo: Demo, folder: Path) -> list[str]:
    return [spec.name for spec in training_processes(demo, "http://localhost", folder)]


def finish(seeded: SeededRun) -> None:
    Run.objects.filter(pk=seeded.run.pk).update(status=RunStatus.FINISHED)
    AuditRule.objects.filter(run=seeded.run).update(state=RuleState.FINISHED)


def test_finished_run_is_not_trained_again(demo: Demo, file: Path, tmp_path: Path) -> None:
    assert names(demo, tmp_path) == ["script", "people", "raw"]

    finish(demo.raw)

    assert names(seed_demo(file), tmp_path) == ["people"]


def test_tokens_are_passed_on_where_process_lists_do_not_show_them(
    demo: Demo, tmp_path: Path
) -> None:
    specs = training_processes(demo, "http://localhost", tmp_path)

    secrets = {demo.people.token, demo.raw.token, demo.script_token}
    assert {spec.env["ASSAY_TOKEN"] for spec in specs} == secrets
    assert not any(secret in word for spec in specs for word in spec.command for secret in secrets)


def test_training_goes_on_from_its_checkpoint_and_else_starts_over(
    demo: Demo, tmp_path: Path
) -> None:
    for name in ("people", "raw"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").touch()
    (tmp_path / "raw" / "checkpoint.pt").touch()

    specs = training_processes(demo, "http://localhost", tmp_path)

    assert Counter("--resume" in spec.command for spec in specs) == {True: 1, False: 2}
    assert (tmp_path / "raw" / "metrics.jsonl").exists()
    assert not (tmp_path / "people").exists()


def test_each_measured_loop_has_a_project_of_its_own() -> None:
    first, second = seed_loop(), seed_loop()

    tokens = [usable_token(secret) for secret in (first.ingest, *first.labels, first.lead)]
    scopes = [["ingest", "table"], *[["label"]] * 3, ["lead"]]
    assert [token.scopes for token in tokens if token] == scopes
    assert len({token.owner_id for token in tokens if token and token.scopes == ["label"]}) == 3
    assert len({token.project_id for token in tokens if token}) == 1
    other = usable_token(second.lead)
    assert other is not None
    assert tokens[-1] is not None
    assert other.project_id != tokens[-1].project_id
