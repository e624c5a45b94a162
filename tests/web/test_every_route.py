"""Every page against everybody who might ask for it. A new route needs a rule here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse
from django.urls.resolvers import RoutePattern
from pytest_django.fixtures import Settings

from review import urls as root
from review.accounts.models import Membership, Project, Role, User
from review.accounts.services.invitations import invite
from review.accounts.services.tokens import issue_token
from review.api.v1 import urls as api
from review.calibration.models import RewardRule
from review.calibration.services.tables import build_table
from review.flows.imports import accept_upload
from review.flows.replays import add_verifier
from review.labeling.models import Label, Pause, PracticeAnswer, Queue, Reveal
from review.labeling.services.known_answers import mark_gold
from review.rollouts.imports import uploads_dir
from review.rollouts.models import Import
from review.rollouts.services import create_slice
from review.runs.models import Fault
from review.runs.services import open_erratum
from review.web import urls
from tests import builders
from tests.labeling import items

# Each holds the one role of that name in the project, "colleague" a reviewer's beside "reviewer",
# who has labelled. "elsewhere" holds every role in another project, "staff" none in any.
SIGNED_IN = {"stranger", "reviewer", "colleague", "adjudicator", "lead", "admin", "elsewhere"} | {
    "staff"
}
EVERYBODY = SIGNED_IN | {"nobody"}
REVIEWERS, AUTHOR = {"reviewer", "colleague"}, {"reviewer"}
DECIDERS = {"adjudicator", "lead"}
LEADS, ADMINS = {"lead"}, {"admin"}

Rule = dict[str, set[str]]


def get(may: set[str]) -> Rule:
    return {"GET": may}


def post(may: set[str]) -> Rule:
    return {"POST": may}


def both(may: set[str]) -> Rule:
    return {"GET": may, "POST": may}


# Who may open each route, and by which methods: all others of these two are refused.
RULES: dict[str, Rule] = {
    "home": get(SIGNED_IN),
    "login": both(EVERYBODY),
    "logout": post(EVERYBODY),
    "password": both(SIGNED_IN),
    "keys": both(SIGNED_IN),
    # Whoever holds the link.
    "join": both(EVERYBODY),
    "project-new": both({"staff"}),
    "members": get(LEADS | ADMINS),
    "member-change": post(ADMINS),
    "member-remove": post(ADMINS),
    "invitation-new": post(ADMINS),
    "invitation-revoke": post(ADMINS),
    "tokens": both(LEADS),
    "token-revoke": post(LEADS),
    "slices": both(LEADS),
    "slice-delete": post(LEADS),
    "errata": get(LEADS),
    "erratum-decide": post(LEADS),
    "imports": get(LEADS),
    "import-upload": post(LEADS),
    "import": both(LEADS),
    "import-format": post(LEADS),
    "import-preview": post(LEADS),
    "import-live": get(LEADS),
    "import-cancel": post(LEADS),
    "import-refused": get(LEADS),
    "replay-new": both(LEADS),
    "replay": get(LEADS),
    "replay-live": get(LEADS),
    "replay-start": post(LEADS),
    "replay-cancel": post(LEADS),
    "replay-again": post(LEADS),
    "disagreements": get(LEADS),
    "verifiers": get(LEADS),
    "verifier": get(LEADS),
    "verifier-live": get(LEADS),
    "verifier-probe": post(LEADS),
    "attack-promote": post(LEADS),
    "run": get(LEADS),
    "run-live": get(LEADS),
    "run-steps": post(LEADS),
    "audit-new": both(LEADS),
    "audit-new-preview": post(LEADS),
    "scorecard": get(LEADS),
    "labelled": get(LEADS),
    "labels-export": get(LEADS),
    "rollout": get(LEADS),
    "rollout-gold": post(LEADS),
    "rollout-requeue": post(LEADS),
    "audit": get(LEADS),
    "audit-live": get(LEADS),
    "audit-edit": both(LEADS),
    "audit-edit-preview": post(LEADS),
    "audit-start": post(LEADS),
    "audit-end": post(LEADS),
    "picks": post(LEADS),
    "window-end": post(LEADS),
    "wave-cancel": post(LEADS),
    "table-build": post(LEADS),
    "table": get(LEADS),
    "table-publish": post(LEADS),
    "queue-settings": both(LEADS),
    "practice-people": get(LEADS),
    "practice-let-in": post(LEADS),
    "pause-lift": post(LEADS),
    "adjudications": get(DECIDERS),
    "adjudication": both(DECIDERS),
    "queue": get(REVIEWERS),
    "practice": get(REVIEWERS),
    "practice-item": both(REVIEWERS),
    "practice-answer": get(AUTHOR),
    "label-next": get(REVIEWERS),
    "label-undo": post(REVIEWERS),
    # Of the project's reviewers the lease token tells whose an item is.
    "label-commit": post(REVIEWERS),
    "label-ahead": get(REVIEWERS),
    "label-draft": post(REVIEWERS),
    "label-skip": post(REVIEWERS),
    "label-heartbeat": post(REVIEWERS),
    "label-reveal": post(AUTHOR),
    "revealed": get(AUTHOR),
    "label-object": post(AUTHOR),
}
# What a page is about, where its path does not say it.
QUERIES = {"labelled": "?estimand=accuracy", "labels-export": "?format=jsonl"}


def walk(patterns: list[URLPattern | URLResolver], before: str = "") -> Iterator[tuple[str, str]]:
    """The name and the path of every route, also of those that are included."""
    for pattern in patterns:
        path = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, path)
        else:
            yield pattern.name or path, path


def test_every_route_has_its_rule_here() -> None:
    assert dict(walk(urls.urlpatterns)).keys() == RULES.keys()


def test_there_are_no_routes_beside_the_pages_the_api_and_the_administration() -> None:
    assert [str(cast(RoutePattern, row.pattern)) for row in root.urlpatterns] == [
        *("api/v1/", "admin/login/", "admin/", "")
    ]


@dataclass(frozen=True, slots=True)
class World:
    # What stands for each part of a path that names something of the project.
    places: dict[str, object]
    # The same for routes that take another one.
    own_places: dict[str, dict[str, object]]
    sessions: dict[str, str]
    # One for all: each would look for every static file anew.
    client: Client = field(default_factory=Client)

    def path(self, route: str) -> str:
        names = dict(walk_converters(urls.urlpatterns))[route]
        places = self.places | self.own_places.get(route, {})
        kwargs = {name: places[name] for name in names}
        return reverse(f"web:{route}", kwargs=kwargs) + QUERIES.get(route, "")

    def ask(self, who: str, method: str, path: str) -> HttpResponse:
        """Asked, and undone: everybody finds the world as it was made."""
        self.client.cookies.clear()
        if who != "nobody":
            self.client.cookies[settings.SESSION_COOKIE_NAME] = self.sessions[who]
        with transaction.atomic():
            answer = self.client.get(path) if method == "GET" else self.client.post(path)
            transaction.set_rollback(True)
        policy = answer["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
        return cast(HttpResponse, answer)


def walk_converters(
    patterns: list[URLPattern | URLResolver], before: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for pattern in patterns:
        names = (*before, *cast(RoutePattern, pattern.pattern).converters)
        if isinstance(pattern, URLResolver):
            yield from walk_converters(pattern.url_patterns, names)
        else:
            yield str(pattern.name), names


def make_world() -> World:
    """Something of everything, made once for all tests."""
    project, theirs = builders.make_project(), builders.make_project("Theirs")
    people = {
        "stranger": person("stranger"),
        "reviewer": person("reviewer", project, Role.REVIEWER),
        "colleague": person("colleague", project, Role.REVIEWER),
        "adjudicator": person("adjudicator", project, Role.ADJUDICATOR),
        "lead": person("lead", project, Role.LEAD),
        "admin": person("admin", project, Role.ADMIN),
        "elsewhere": person("elsewhere", theirs, *Role),
        "staff": User.objects.create_user("staff", is_staff=True),
    }
    queue = items.open_queue(project, budget=16, waves=2)
    builders.label_wave(queue.rule, people["reviewer"])
    label, shown, *_ = Label.objects.order_by("pk")
    Reveal.objects.create(label=shown)
    sessions = {name: session_of(user) for name, user in people.items()}
    return World(
        places=places_of(project, queue, label, people),
        own_places={
            "revealed": {"label_id": shown.pk},
            "label-object": {"label_id": shown.pk},
            "adjudication": {"assignment_id": label.assignment_id},
            "audit-edit": {"audit_id": draft_of(queue)},
            "audit-start": {"audit_id": draft_of(queue)},
        },
        sessions=sessions,
    )


def person(name: str, project: Project | None = None, *roles: Role) -> User:
    """Without a password: hashing one properly takes longer than all the rest."""
    user = User.objects.create_user(name)
    for role in roles:
        Membership.objects.create(project=project, user=user, role=role)
    return user


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def draft_of(queue: Queue) -> object:
    run = queue.rule.run
    known = run.audit_rules.filter(name="a draft").first()
    return (known or builders.make_audit(run, name="a draft")).pk


def places_of(
    project: Project, queue: Queue, label: Label, people: dict[str, User]
) -> dict[str, object]:
    run, rollout = queue.rule.run, label.assignment.rollout
    window = queue.rule.windows.get()
    lead, admin, reviewer = people["lead"], people["admin"], people["reviewer"]
    invited = invite(project=project, invitee="Eve", roles=["reviewer"], actor=admin)
    replay = add_verifier(run=run, name="exact-match", params={}, actor=lead)
    gold = mark_gold(rollout=rollout, answer=label.answer, is_practice=True, actor=lead)
    return {
        "project_slug": project.slug,
        "member_id": people["colleague"].pk,
        "user_id": people["colleague"].pk,
        "secret": invited.secret,
        "invitation_id": invited.invitation.pk,
        "token_id": issue_token(
            project=project, owner=lead, name="t", scopes=["ingest"], actor=lead
        ).token.pk,
        "slice_id": create_slice(
            project=project,
            name="sums",
            conditions=[{"field": "domain", "op": "is", "value": "arithmetic"}],
            actor=lead,
        ).pk,
        "erratum_id": open_erratum(
            prompt=rollout.group.prompt, fault=Fault.WRONG_REFERENCE, note="", actor=lead
        ).pk,
        "import_id": uploaded(project).pk,
        "replay_id": replay.pk,
        "verifier_id": replay.verifier_id,
        "run_id": run.pk,
        "audit_id": queue.rule.pk,
        "rollout_id": rollout.pk,
        "window_id": window.pk,
        "wave_id": window.waves.earliest("pk").pk,
        "table_id": build_table(
            run=run,
            rule=RewardRule.DEMOTE_OR_ABSTAIN,
            valid_from_step=3,
            valid_to_step=4,
            actor="test",
        ).pk,
        "queue_id": queue.pk,
        "assignment_id": items.take(queue, reviewer).pk,
        "label_id": label.pk,
        "answer_id": PracticeAnswer.objects.create(
            queue=queue, reviewer=reviewer, gold=gold, attempt=1, answer="correct", is_right=True
        ).pk,
        "pause_id": Pause.objects.create(queue=queue, reviewer=reviewer, reason="slow").pk,
    }


def uploaded(project: Project) -> Import:
    upload = uploads_dir() / "upload"
    upload.write_text('{"prompt": "7 + 8", "completion": "15"}\n', encoding="utf-8")
    return accept_upload(
        project=project, upload=upload, file_name="a.jsonl", digest="0", actor="test"
    )


def is_open(answer: HttpResponse) -> bool:
    """Let in, also where the state (409) or the input (422) is then refused."""
    to_sign_in = answer.status_code == 302 and answer["Location"].startswith("/login/?next=")
    return answer.status_code not in (401, 403, 404, 405) and not to_sign_in


def let_in(world: World, method: str, path: str) -> set[str] | None:
    """Who is; None where it is not such a method's."""
    unknown = world.ask("nobody", method, path)
    if unknown.status_code == 405:
        return None
    answers = {who: world.ask(who, method, path) for who in sorted(SIGNED_IN)} | {"nobody": unknown}
    may = {who for who, answer in answers.items() if is_open(answer)}
    # Who is not signed in is asked to, whatever it is and whether it is there or not.
    assert "nobody" in may or unknown.status_code == 302, f"{method} {path}"
    return may


@pytest.mark.django_db
def test_every_route_opens_to_those_it_is_for_and_to_nobody_else(
    settings: Settings, tmp_path: Path
) -> None:
    settings.UPLOADS_DIR = str(tmp_path)
    world, found = make_world(), {}
    for route in RULES:
        by_method = {method: let_in(world, method, world.path(route)) for method in ("GET", "POST")}
        found[route] = {method: may for method, may in by_method.items() if may is not None}
    assert found == RULES


@pytest.mark.django_db
def test_a_browsers_session_opens_nothing_of_the_api(project: Project, ada: User) -> None:
    client = Client()
    client.force_login(ada)
    # The last one answers what is none of them.
    for _, path in walk(api.urlpatterns[:-1]):
        url = "/api/v1/" + re.sub(r"<uuid:\w+>", str(uuid4()), path)
        for method in ("get", "post", "patch", "delete"):
            assert getattr(client, method)(url).status_code in (401, 429), url
