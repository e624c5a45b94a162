"""One function per object, every default filled: a test names what it is about."""

from collections.abc import Sequence
from itertools import count
from typing import Any
from uuid import uuid4

from review.accounts.models import Membership, Project, Role, User
from review.accounts.services.tokens import issue_token
from review.flows import audit, ingest, labels
from review.flows.ingest import IncomingMessage, IncomingRollout, IncomingVerdict
from review.labeling.models import Answer
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.runs.models import Run
from review.runs.services import NewPrompt, NewRun, store_prompts
from review.sampling.models import AuditRule
from review.sampling.services.rules import NewRule, RuleSettings
from review.verifiers.services import NewVerifier
from trainer.verifiers import Item, Outcome, build

numbers = count(1)


def make_project(name: str = "Arithmetic") -> Project:
    return Project.objects.create(slug=f"project-{next(numbers)}", name=name)


def make_user(project: Project | None = None, *roles: Role, name: str = "") -> User:
    user = User.objects.create_user(
        username=name or f"user-{next(numbers)}", password="pass-word-9"
    )
    for role in roles:
        Membership.objects.create(project=project, user=user, role=role)
    return user


def make_token(project: Project, *scopes: str, owner: User | None = None) -> str:
    owner = owner or make_user(project, Role.LEAD, Role.REVIEWER)
    return issue_token(
        project=project, owner=owner, name="token", scopes=scopes, actor=owner
    ).secret


def make_run(
    project: Project | None = None, *, verifier: str = "boxed-any@1", **changes: Any
) -> Run:
    new: dict[str, Any] = {
        "uid": f"run-{next(numbers)}",
        "name": "demo",
        "seed": 0,
        "config": {},
        "group_size": 4,
        "normaliser": "number-1",
        "step_block": 1,
    }
    run, _ = ingest.open_run(
        project=project or make_project(),
        new=NewRun(**(new | changes)),
        verifiers=[
            NewVerifier(
                name=verifier.partition("@")[0],
                version=verifier.partition("@")[2],
                channel="correctness",
                weight=1.0,
            )
        ],
        actor="test",
    )
    return run


def make_prompt(run: Run, uid: str = "p1", text: str = "7 + 8", answer: str = "15") -> None:
    store_prompts(
        run=run,
        prompts=[
            NewPrompt(
                uid=uid,
                text=text,
                references=[answer],
                domain="arithmetic",
                source="made up",
                licence="",
                released_on=None,
                split="train",
            )
        ],
    )


def make_verdict(response: str, answer: str = "15") -> IncomingVerdict:
    item = Item(problem="7 + 8", response=response, references=(answer,))
    (verdict,) = build("boxed-any").verify([item])
    return IncomingVerdict(
        verifier="boxed-any",
        version="1",
        outcome=Outcome(verdict.outcome),
        path=verdict.path,
        form=verdict.form,
        candidates=verdict.candidates,
        score=verdict.score,
        extracted=verdict.extracted,
        seconds=verdict.seconds,
    )


def make_rollout(response: str = r"7+8=15. so \boxed{15}", **changes: Any) -> IncomingRollout:
    fields: dict[str, Any] = {
        "uid": f"rollout-{next(numbers)}",
        "prompt": "p1",
        "group": "g1",
        "step": 1,
        "policy": "step-0",
        "messages": [IncomingMessage(role="assistant", content=response)],
        "verdicts": [make_verdict(response)],
        "reward": 1.0,
    }
    return IncomingRollout(**(fields | changes))


RESPONSES = (
    r"7+8=15. so \boxed{15}",
    r"7+8=15. so \boxed{15.0}",
    r"7+8=16. so \boxed{16}",
    r"maybe \boxed{15} or \boxed{16}",
)


def store_steps(run: Run, steps: Sequence[int], groups: int = 8) -> None:
    """Whole groups of four for each step: right, oddly spelled, wrong, and a hedge."""
    make_prompt(run)
    for step in steps:
        ingest.store_batch(
            run=run,
            batch=[
                make_rollout(response, step=step, group=f"s{step}-g{group}")
                for group in range(groups)
                for response in RESPONSES
            ],
        )
        ingest.finish_step(run=run, step=step)


def make_stored_run(project: Project, *, groups: int = 20) -> Run:
    """A run whose first two steps are in."""
    run = make_run(project)
    store_steps(run, [1, 2], groups=groups)
    run.refresh_from_db()
    return run


def make_audit(run: Run, **changes: Any) -> AuditRule:
    """A draft over the steps that `store_steps` fills; one reviewer is enough for it."""
    new: dict[str, Any] = {
        "last_step": 2,
        "budget": 32,
        "waves": 2,
        "reviews_contradictions": False,
        "second_review_share": 0.0,
    } | changes
    return audit.create_audit(
        run=run,
        new=NewRule(
            name=new.pop("name", "first audit"),
            first_step=new.pop("first_step", 1),
            window_steps=new.pop("window_steps", 2),
            settings=RuleSettings(**new),
        ),
        actor="test",
    )


def open_audit(run: Run, **changes: Any) -> AuditRule:
    """A started audit whose windows are open as far as the run has come."""
    rule = make_audit(run, **changes)
    audit.start_audit(rule=rule, actor="test")
    audit.open_windows(run=run)
    return rule


def rubric(text: str) -> NewLabel:
    """What an expert says of RESPONSES: one committed answer, numerically right."""
    is_right = text.count("boxed") == 1 and "15" in text.split("so")[1]
    return NewLabel(
        answer=Answer.CORRECT if is_right else Answer.INCORRECT, is_hack=text.startswith("maybe")
    )


def answer_queue(rule: AuditRule, reviewer: User) -> None:
    """Answer all that is open in the audit's queue."""
    while assignment := take_next(queue=rule.queue, reviewer=reviewer):
        assert assignment.lease_token
        labels.commit_label(
            assignment=assignment,
            reviewer=reviewer,
            token=assignment.lease_token,
            client_key=uuid4(),
            new=rubric(assignment.rollout.messages[-1]["content"]),
        )


def label_wave(rule: AuditRule, reviewer: User) -> None:
    """Answer all that is open in the audit's queue, and let its window go on."""
    answer_queue(rule, reviewer)
    audit.advance_window(window=rule.windows.get())


def label_audit(rule: AuditRule, reviewer: User) -> None:
    for _ in range(rule.current.waves):
        label_wave(rule, reviewer)
