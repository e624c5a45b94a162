"""What the demo and the measured loop start from: people, projects, runs, audits and tokens.

The demo has two runs of the same training. One waits at step 9 for a reward table from people's
labels; in a project of its own, so that nobody labels there by mistake, the other goes on with
the raw verdict while a script labels its audit.
"""

import json
import os
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.db import transaction

from review.accounts.models import Project, Role, Scope, User
from review.accounts.queries import usable_token
from review.accounts.services.members import add_member
from review.accounts.services.tokens import issue_token
from review.core.embedded.paths import PROJECT_ROOT
from review.flows import audit, ingest
from review.labeling.models import Queue
from review.runs.models import Run
from review.runs.services import NewRun
from review.sampling.models import AuditRule, RuleState
from review.sampling.services.rules import NewRule, RuleSettings, default_waves
from review.verifiers.services import NewVerifier
from trainer.verifiers import build

RECIPES = PROJECT_ROOT / "trainer" / "recipes"
RECIPE = RECIPES / "demo.toml"
PEOPLE_RECIPE = RECIPES / "demo_people.toml"
SEED = 0
STEP_BLOCK = 1
LEAD, REVIEWERS, SCRIPT = "ada", ("ben", "cyd"), "scripted-rubric"
# Three, because a tie between two is broken by a third.
LOOP_REVIEWERS = (SCRIPT, f"{SCRIPT}-2", f"{SCRIPT}-3")
# Without letters and digits that look alike.
PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # noqa: S105  (an alphabet)
PASSWORD_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only this machine's owner may read: people's passwords and programs' tokens, by name."""

    passwords: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> "Secrets":
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else cls()

    def write(self, file: Path) -> None:
        unfinished = file.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            json.dump(asdict(self), handle, indent=2)
        unfinished.replace(file)


@dataclass(frozen=True, slots=True)
class SeededRun:
    run: Run
    queues: Sequence[Queue]
    recipe: Path
    reward_source: str
    # Of the scopes ingest and table.
    token: str

    @property
    def has_open_audit(self) -> bool:
        return any(queue.rule.state != RuleState.FINISHED for queue in self.queues)


@dataclass(frozen=True, slots=True)
class Demo:
    passwords: Mapping[str, str]
    people: SeededRun
    raw: SeededRun
    # Of the scope label, in the raw run's project.
    script_token: str


@dataclass(frozen=True, slots=True)
class LoopTokens:
    """labels: one a reviewer."""

    ingest: str
    labels: tuple[str, ...]
    lead: str


@dataclass(frozen=True, slots=True)
class Plan:
    slug: str
    project: str
    run_uid: str
    run_name: str
    audit: str
    recipe: Path
    reward_source: str
    reviewers: tuple[str, ...]


PEOPLE = Plan(
    slug="demo",
    project="Demo: arithmetic",
    run_uid="demo-people-0",
    run_name="Reward from people's labels",
    audit="Audit by people",
    recipe=PEOPLE_RECIPE,
    reward_source="table",
    reviewers=REVIEWERS,
)
RAW = Plan(
    slug="demo-raw",
    project="Demo: arithmetic, raw reward",
    run_uid="demo-raw-0",
    run_name="Raw verdicts as the reward",
    audit="Scripted rubric audit",
    recipe=RECIPE,
    reward_source="verdict",
    reviewers=(SCRIPT,),
)


def seed_demo(file: Path) -> Demo:
    """Bring the demo's data about, or find them. Its secrets are kept in the file."""
    kept = Secrets.read(file)
    with transaction.atomic():
        users = {name: _person(name, kept) for name in (LEAD, *REVIEWERS)}
        users[SCRIPT] = _user(SCRIPT)
        people, raw = (_seeded(plan, users, kept) for plan in (PEOPLE, RAW))
        script_token = _token(raw.run.project, users[SCRIPT], "script", [Scope.LABEL], kept)
        kept.write(file)
    return Demo(kept.passwords, people, raw, script_token)


@transaction.atomic
def seed_loop() -> LoopTokens:
    """A fresh project with the programs of a measured loop; its runs come by the API."""
    name = f"loop-{uuid4().hex[:8]}"
    project = Project.objects.create(slug=name, name=f"Measured {name}")
    lead = _user("loop-lead")
    add_member(project=project, user=lead, role=Role.LEAD, actor=lead)
    reviewers = [_user(reviewer) for reviewer in LOOP_REVIEWERS]
    for reviewer in reviewers:
        add_member(project=project, user=reviewer, role=Role.REVIEWER, actor=lead)

    def token(owner: User, name: str, *scopes: str) -> str:
        issued = issue_token(project=project, owner=owner, name=name, scopes=scopes, actor=lead)
        return issued.secret

    return LoopTokens(
        ingest=token(lead, "trainer", Scope.INGEST, Scope.TABLE),
        labels=tuple(token(user, user.username, Scope.LABEL) for user in reviewers),
        lead=token(lead, "driver", Scope.LEAD),
    )


def _user(name: str) -> User:
    """An account that nobody can log in to, unless it is given a password."""
    return User.objects.filter(username=name).first() or User.objects.create_user(name)


def _person(name: str, kept: Secrets) -> User:
    """An account with the kept password; a new one whenever either of them is gone."""
    user = _user(name)
    if name not in kept.passwords or not user.has_usable_password():
        if name not in kept.passwords:
            kept.passwords[name] = _password()
        user.set_password(kept.passwords[name])
        user.save(update_fields=["password"])
    return user


def _password() -> str:
    return "".join(secrets.choice(PASSWORD_LETTERS) for _ in range(PASSWORD_LENGTH))


def _token(project: Project, owner: User, name: str, scopes: Sequence[str], kept: Secrets) -> str:
    """The kept token of this name while it is valid, else a new one."""
    key = f"{name} of {project.slug}"
    known = usable_token(kept.tokens.get(key, ""))
    if known is None or known.project_id != project.pk:
        issued = issue_token(project=project, owner=owner, name=name, scopes=scopes, actor=owner)
        kept.tokens[key] = issued.secret
    return kept.tokens[key]


def _seeded(plan: Plan, users: Mapping[str, User], kept: Secrets) -> SeededRun:
    lead = users[LEAD]
    project, _ = Project.objects.get_or_create(slug=plan.slug, defaults={"name": plan.project})
    for role in (Role.LEAD, Role.ADMIN):
        add_member(project=project, user=lead, role=role, actor=lead)
    for name in plan.reviewers:
        add_member(project=project, user=users[name], role=Role.REVIEWER, actor=lead)
    config = recipe_settings(plan)
    run = _registered(project, plan, config, actor=lead)
    # Reviewers are shown the newest queue first: that is to be the first one that fills.
    rules = [_audit(run, new, actor=lead) for new in reversed(_rules(plan, config))]
    return SeededRun(
        run=run,
        queues=[rule.queue for rule in reversed(rules)],
        recipe=plan.recipe,
        reward_source=plan.reward_source,
        token=_token(project, lead, "trainer", [Scope.INGEST, Scope.TABLE], kept),
    )


def recipe_settings(plan: Plan) -> dict[str, Any]:
    """The settings that the trainer will use, section by section; stages are taken as a whole."""
    settings = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    own = tomllib.loads(plan.recipe.read_text(encoding="utf-8"))
    chosen = {"run": {"seed": SEED}, "reward": {"source": plan.reward_source}}
    for changes in (own, chosen):
        for section, values in changes.items():
            is_section = isinstance(values, dict)
            settings[section] = settings[section] | values if is_section else values
    return settings


def _registered(project: Project, plan: Plan, config: dict[str, Any], actor: User) -> Run:
    """The run before its trainer has started: that one registers it again, by the same uid."""
    verifier = build(config["reward"]["verifier"])
    run, _ = ingest.open_run(
        project=project,
        new=NewRun(
            uid=plan.run_uid,
            name=plan.run_name,
            seed=SEED,
            config=config,
            group_size=config["grpo"]["group_size"],
            normaliser=verifier.normaliser,
            step_block=STEP_BLOCK,
        ),
        verifiers=[
            NewVerifier(
                name=verifier.name, version=verifier.version, channel=verifier.channel, weight=1.0
            )
        ],
        actor=actor,
    )
    return run


def _rules(plan: Plan, config: dict[str, Any]) -> list[NewRule]:
    """An audit of the steps before the first reward table, and a smaller one every ten steps."""
    warm_up = config["reward"]["warm_up_steps"]
    return [
        NewRule(
            name=f"{plan.audit}: steps 1 to {warm_up}",
            first_step=1,
            window_steps=warm_up,
            settings=_settings(last_step=warm_up, budget=96),
        ),
        NewRule(
            name=f"{plan.audit}: every ten steps after",
            first_step=warm_up + 1,
            window_steps=10,
            settings=_settings(last_step=None, budget=48),
        ),
    ]


def _settings(*, last_step: int | None, budget: int) -> RuleSettings:
    """No second reviews: whoever tries the demo is one person."""
    return RuleSettings(
        last_step=last_step,
        budget=budget,
        waves=default_waves(budget),
        reviews_contradictions=False,
        second_review_share=0.0,
    )


def _audit(run: Run, new: NewRule, *, actor: User) -> AuditRule:
    known = AuditRule.objects.filter(run=run, name=new.name).select_related("queue").first()
    if known is not None:
        return known
    rule = audit.create_audit(run=run, new=new, actor=actor)
    return audit.start_audit(rule=rule, actor=actor)
