"""The container files against the tree: no engine is needed to see that they name what exists."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from review.verifiers.built_in import TORCH_QUEUE

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
WHOLE_DOCKERFILES = ("web.Dockerfile", "trainer.Dockerfile")
# The last one is built upon the first.
DOCKERFILES = (*WHOLE_DOCKERFILES, "torch.Dockerfile")
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OUR_SERVICES = ("migrate", "web", "worker", "worker-torch", "beat")


def settings_read() -> set[str]:
    """Every variable that settings.py and the embedded services take from outside."""
    calls = ast.walk(ast.parse((ROOT / "review" / "settings.py").read_text()))
    names = {
        str(call.args[0].value)
        for call in calls
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id.startswith("env_")
        and isinstance(call.args[0], ast.Constant)
    }
    embedded = "".join(path.read_text() for path in (ROOT / "review/core/embedded").glob("*.py"))
    names |= set(re.findall(r'os\.environ(?:\.get\(|\[)"([A-Z_]+)"', embedded))
    return {name for name in names if not name.endswith("_FILE")}


def settings_listed() -> set[str]:
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return {found[1] for line in lines if (found := re.match(r"#?([A-Z_]+)=", line))}


def variables_of_compose() -> set[str]:
    return set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (DOCKER / "compose.yaml").read_text()))


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    text = (DOCKER / dockerfile).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines]


def argument(dockerfile: str, instruction: str) -> str:
    return [text for name, text in instructions(dockerfile) if name == instruction][-1]


def copied(dockerfile: str) -> list[str]:
    return [
        source
        for name, text in instructions(dockerfile)
        if name == "COPY"
        for source in text.split()[:-1]
    ]


def commands() -> list[list[str]]:
    started = [json.loads(argument("web.Dockerfile", "CMD"))]
    return started + [SERVICES[name]["command"] for name in OUR_SERVICES if name != "web"]


def test_example_lists_exactly_the_settings_that_are_read() -> None:
    assert settings_listed() == settings_read() | variables_of_compose()


def test_example_leaves_every_secret_empty() -> None:
    example = (DOCKER / ".env.example").read_text()

    assert re.findall(r"^(?:SECRET_KEY|POSTGRES_PASSWORD)=(.*)$", example, re.MULTILINE) == ["", ""]


@pytest.mark.parametrize("name", OUR_SERVICES)
def test_service_is_given_settings_that_exist(name: str) -> None:
    assert set(SERVICES[name]["environment"]) <= settings_read()
    assert SERVICES[name]["env_file"] == ".env"


@pytest.mark.parametrize("name", SERVICES)
def test_service_waits_for_services_that_can_tell_when_they_are_ready(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert SERVICES[other]["restart"] == "no"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_service_that_stays_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_volumes_that_services_use_are_declared() -> None:
    used = {volume.split(":")[0] for one in SERVICES.values() for volume in one.get("volumes", ())}

    assert used == set(COMPOSE["volumes"])


def test_build_uses_a_dockerfile_of_the_tree() -> None:
    build = SERVICES["web"]["build"]

    assert (DOCKER / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_copied_paths_exist_and_reach_the_build(dockerfile: str) -> None:
    allowed = (ROOT / ".dockerignore").read_text().splitlines()

    for source in copied(dockerfile):
        assert (ROOT / source).exists()
        assert f"!{source}" in allowed


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_image_does_not_run_as_root(dockerfile: str) -> None:
    assert argument(dockerfile, "USER") == "assay"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_image_installs_an_extra_that_exists_under_the_constraints(dockerfile: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    install = next(text for name, text in instructions(dockerfile) if "pip install" in text)
    found = re.search(r"-c constraints\.txt -e '\.\[(\w+)\]'", install)

    assert found
    assert found[1] in project["optional-dependencies"]


@pytest.mark.parametrize("dockerfile", WHOLE_DOCKERFILES)
def test_image_holds_the_packages_and_files_that_the_project_names(dockerfile: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert {project["readme"], *project["license-files"]} <= set(copied(dockerfile))


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_command_is_installed_and_knows_its_options(command: list[str]) -> None:
    program, *words = command
    if program == "python":
        assert (ROOT / words[0]).is_file()
        return
    (script,) = entry_points(group="console_scripts", name=program)
    subcommand = [word for word in words if word in {"worker", "beat"}]
    module = script.module.removesuffix(".__main__")
    shown = subprocess.run(
        [sys.executable, "-m", module, *subcommand, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert all(word in shown for word in words if word.startswith("--"))


def test_web_serves_an_application_of_the_tree() -> None:
    module, _, name = json.loads(argument("web.Dockerfile", "CMD"))[-1].partition(":")
    source = ROOT / (module.replace(".", "/") + ".py")

    assert f"{name} = " in source.read_text()


def test_celery_commands_name_the_application_of_the_tree() -> None:
    applications = {command[2] for command in commands() if command[0] == "celery"}

    assert applications == {"review"}
    assert "app = Celery(" in (ROOT / "review" / "celery.py").read_text()


def test_trainer_image_starts_the_trainers_command_line() -> None:
    assert json.loads(argument("trainer.Dockerfile", "ENTRYPOINT"))[:3] == [
        "python",
        "-m",
        "trainer",
    ]
    assert '"train"' in (ROOT / "trainer" / "__main__.py").read_text()


def test_the_worker_with_torch_serves_the_queue_that_such_verifiers_are_sent_to() -> None:
    assert SERVICES["worker-torch"]["command"][-2:] == ["--queues", TORCH_QUEUE]
    assert "--queues" not in SERVICES["worker"]["command"]
