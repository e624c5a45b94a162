"""Every call of the API against every kind of token. A new call must be added here."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from review.accounts.errors import NotAMemberError
from review.accounts.models import Membership, Project, Role, Scope, User
from review.accounts.services.tokens import issue_token
from review.api.v1 import urls
from review.calibration.models import RewardTable
from review.flows.replays import add_verifier
from review.rollouts.services import create_slice
from tests import builders
from tests.api.calls import Caller, refused
from tests.labeling import items

# Which scopes may make each call.
SCOPES = {
    "POST runs": {"ingest"},
    "GET runs/<run>": {"ingest", "table", "lead"},
    "PATCH runs/<run>": {"ingest"},
    "POST runs/<run>/prompts": {"ingest"},
    "POST runs/<run>/rollouts": {"ingest"},
    "POST runs/<run>/verdicts": {"ingest"},
    "POST runs/<run>/purge": {"lead"},
    "GET runs/<run>/replays": {"lead"},
    "POST runs/<run>/replays": {"lead"},
    "GET replays/<replay>": {"lead"},
    "POST replays/<replay>/start": {"lead"},
    "POST replays/<replay>/cancel": {"lead"},
    "GET slices": {"lead"},
    "POST slices": {"lead"},
    "DELETE slices/<slice>": {"lead"},
    "GET runs/<run>/audits": {"lead"},
    "POST runs/<run>/audits": {"lead"},
    "POST runs/<run>/audits/preview": {"lead"},
    "GET audits/<audit>": {"lead"},
    "PATCH audits/<audit>": {"lead"},
    "GET audits/<audit>/versions": {"lead"},
    "POST audits/<audit>/start": {"lead"},
    "POST audits/<audit>/end": {"lead"},
    "POST audits/<audit>/picks": {"lead", "ingest"},
    "GET audits/<audit>/disagreements": {"lead"},
    "POST audits/<audit>/adjudications": {"lead"},
    "POST windows/<window>/end": {"lead"},
    "POST windows/<window>/cancel-wave": {"lead"},
    "GET queues/<queue>": {"lead"},
    "PATCH queues/<queue>": {"lead"},
    "POST queues/<queue>/take": {"label"},
    "POST assignments/<assignment>/label": {"label"},
    "POST assignments/<assignment>/skip": {"label"},
    "POST assignments/<assignment>/heartbeat": {"label"},
    "POST assignments/<assignment>/release": {"label"},
    "GET runs/<run>/labels": {"lead"},
    "GET runs/<run>/errata": {"lead"},
    "GET runs/<run>/estimates": {"lead"},
    "GET runs/<run>/scorecard": {"lead"},
    "GET runs/<run>/comparisons": {"lead"},
    "GET runs/<run>/slice-difference": {"lead"},
    "GET runs/<run>/signal": {"table", "lead"},
    "POST runs/<run>/reward-tables": {"lead"},
    "GET reward-tables/<table>": {"lead"},
    "POST reward-tables/<table>/publish": {"lead"},
    "GET runs/<run>/reward-table": {"table"},
    "POST runs/<run>/rewards": {"table"},
}

AUDIT = {"name": "a", "first_step": 1, "window_steps": 1, "budget": 8}

BODIES: dict[str, dict[str, Any]] = {
    "POST runs": {
        "uid": "r",
        "name": "r",
        "normaliser": "number-1",
        "group_size": 4,
        "verifiers": [{"name": "boxed-any", "version": "1"}],
    },
    "POST runs/<run>/prompts": {"prompts": []},
    "POST runs/<run>/rollouts": {"rollouts": []},
    "POST runs/<run>/verdicts": {"channel": "probe", "verdicts": []},
    "POST runs/<run>/purge": {"rollouts": []},
    "POST runs/<run>/replays": {"verifier": "exact-match"},
    "POST slices": {
        "name": "a",
        "conditions": [{"field": "domain", "op": "is", "value": "algebra"}],
    },
    "POST runs/<run>/audits": AUDIT,
    "POST runs/<run>/audits/preview": AUDIT,
    "PATCH audits/<audit>": {"floor": 0.2},
    "PATCH queues/<queue>": {"reveals": False},
    "POST audits/<audit>/picks": {"cause": "appeal", "rollouts": ["nowhere"]},
    "POST audits/<audit>/adjudications": {
        "rollout": "nowhere",
        "answer": "correct",
        "reason": "seen",
    },
    "POST assignments/<assignment>/label": {"client_key": str(uuid4()), "answer": "correct"},
    "POST runs/<run>/reward-tables": {"valid_from_step": 3, "valid_to_step": 4},
    "POST runs/<run>/rewards": {"rollouts": [{"response": "15"}]},
}


# A call that gets past the scopes and is then refused.
REFUSED_LATER = {
    "GET runs/<run>/slice-difference": "invalid_body",
    "POST runs/<run>/reward-tables": "no_labels",
    "POST replays/<replay>/start": "replay_state",
    "POST runs/<run>/rewards": "unusable_table",
    "POST audits/<audit>/picks": "unknown_rollout",
    "POST audits/<audit>/adjudications": "unknown_rollout",
}


def calls() -> Iterator[str]:
    """Every call of the URL table."""
    for pattern in urls.urlpatterns:
        view = getattr(pattern.callback, "view_class", None)
        if view is None:
            continue
        path = str(pattern.pattern).replace("uuid:", "").replace("_id>", ">")
        for method in ("get", "post", "put", "patch", "delete"):
            if hasattr(view, method):
                yield f"{method.upper()} {path}"


def test_every_call_has_its_scopes_here() -> None:
    assert set(calls()) == SCOPES.keys()


@pytest.fixture
def ids(project: Project, ben: User) -> dict[str, object]:
    """Something of everything: ben holds the assignment."""
    queue = items.open_queue(project)
    assignment = items.take(queue, ben)
    run = queue.rule.run
    table = RewardTable.objects.create(
        run=run,
        version=1,
        rule="posterior",
        valid_from_step=3,
        valid_to_step=4,
        labels=0,
        body="{}",
        digest="0",
        preview={},
        published_at=run.created_at,
    )
    return {
        "<run>": run.pk,
        "<audit>": builders.make_audit(run, name="draft").pk,
        "<window>": queue.rule.windows.get().pk,
        "<queue>": queue.pk,
        "<assignment>": assignment.pk,
        "<table>": table.pk,
        "<replay>": add_verifier(run=run, name="alias-contained", params={}, actor="test").pk,
        "<slice>": create_slice(
            project=project,
            name="logic",
            conditions=[{"field": "domain", "op": "is", "value": "logic"}],
            actor="test",
        ).pk,
        "token": str(assignment.lease_token),
    }


def make(call: str, secret: str, ids: dict[str, object]) -> Any:
    method, path = call.split()
    body = dict(BODIES.get(call, {}))
    if "<assignment>" in path:
        body["token"] = ids["token"]
    for name, value in ids.items():
        path = path.replace(name, str(value))
    caller = Caller(secret)
    if method in {"GET", "DELETE"}:
        return caller.send(method, path)
    return caller.post(path, body) if method == "POST" else caller.patch(path, body)


@pytest.mark.parametrize("call", SCOPES)
def test_a_call_takes_its_scopes_and_no_others(
    call: str, project: Project, ada: User, ben: User, ids: dict[str, object]
) -> None:
    refused(make(call, "", ids), 401, "not_authenticated")
    refused(make(call, "assay_wrong", ids), 401, "not_authenticated")
    for scope in Scope.values:
        owner = ben if scope == Scope.LABEL else ada
        response = make(call, builders.make_token(project, scope, owner=owner), ids)
        if scope not in SCOPES[call]:
            refused(response, 403, "not_allowed")
        elif call in REFUSED_LATER:
            assert response.json()["error"]["code"] == REFUSED_LATER[call]
        else:
            assert response.status_code < 300


OF_SOMETHING = [call for call in SCOPES if "<" in call]


def test_to_a_stranger_nothing_of_the_project_exists(cyd: User, ids: dict[str, object]) -> None:
    theirs = builders.make_project("Theirs")
    for role in Role:
        Membership.objects.create(project=theirs, user=cyd, role=role)
    secret = builders.make_token(theirs, *Scope.values, owner=cyd)
    for call in OF_SOMETHING:
        refused(make(call, secret, ids), 404, "not_found")


def test_what_does_not_exist_is_not_found(caller: Caller) -> None:
    names = ("run", "audit", "window", "queue", "assignment", "table", "slice")
    nowhere: dict[str, object] = {f"<{name}>": str(uuid4()) for name in names}
    nowhere["token"] = str(uuid4())
    for call in OF_SOMETHING:
        refused(make(call, caller.secret, nowhere), 404, "not_found")


def test_a_token_of_one_project_is_none_for_the_owners_other_projects(
    project: Project, ben: User, ids: dict[str, object]
) -> None:
    other = builders.make_project("Other")
    for role in Role:
        Membership.objects.create(project=other, user=ben, role=role)
    secret = builders.make_token(other, *Scope.values, owner=ben)
    for call in OF_SOMETHING:
        refused(make(call, secret, ids), 404, "not_found")


def test_a_head_request_needs_the_scope_of_its_get(
    project: Project, ben: User, ids: dict[str, object]
) -> None:
    caller = Caller(builders.make_token(project, "label", owner=ben))
    answer = caller.send("HEAD", f"runs/{ids['<run>']}/reward-table")
    assert answer.status_code == 403
    assert "ETag" not in answer


def test_nobody_gets_a_token_beyond_their_role(
    project: Project, ada: User, ben: User, cyd: User
) -> None:
    for owner, scopes in [
        (ada, ["label"]),
        (ben, ["ingest"]),
        (ben, ["label", "lead"]),
        (cyd, ["label"]),
        (cyd, ["table"]),
    ]:
        with pytest.raises(NotAMemberError):
            issue_token(project=project, owner=owner, name="t", scopes=scopes, actor=owner)
