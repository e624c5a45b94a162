"""A training run as it goes wrong and is put right: the same one every time.

The verifier accepts whatever holds the right answer in any box. The policy learns to hedge: its
reward rises while fewer and fewer answers are right. A reward table comes into use, and it turns.
"""

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db.models import F

from review.accounts.models import Project, User
from review.calibration.models import RewardRule, RewardTable
from review.calibration.services.scorecard import refresh_run
from review.calibration.services.tables import build_table, publish_table
from review.flows import audit, ingest, labels
from review.flows.ingest import IncomingMessage, IncomingRollout
from review.labeling.models import Answer, Lease, Queue
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.rollouts.models import Rollout
from review.rollouts.services import create_slice
from review.runs.models import Run
from review.sampling.models import AuditRule, WindowState
from tests import builders
from trainer.verifiers.math.boxed import boxed_answers

WINDOW_STEPS, BUDGET = 8, 96
TURN, LAST_STEP = 18, 34
GROUPS, GROUP_SIZE = 12, 8
PUBLISHED_AT = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
PROBLEMS = {
    "4 + 9 - 3 + 8": 18,
    "7 - 2 + 6 + 1": 12,
    "9 + 9 - 8 - 5": 5,
    "3 + 8 + 2 + 7": 20,
    "6 - 1 + 5 + 9": 19,
}

SLICES = {
    "hedges": [{"field": "signature", "op": "is", "value": "pass/boxed/integer/2+"}],
    "the verifier rejects": [{"field": "outcome", "op": "is", "value": "fail"}],
    "since the turn": [{"field": "step", "op": "at_least", "value": TURN + 1}],
}


@dataclass(frozen=True)
class Story:
    run: Run
    rule: AuditRule
    published: RewardTable
    draft: RewardTable


def tell(project: Project, *reviewers: User) -> Story:
    """The first two reviewers label; a third one is wanted where they disagree."""
    for name, conditions in SLICES.items():
        create_slice(project=project, name=name, conditions=conditions, actor="ada")
    run = builders.make_run(
        project, uid="chain-sum-0", name="chain_sum, seed 0", group_size=GROUP_SIZE
    )
    for terms, answer in PROBLEMS.items():
        problem = f"What is {terms}? Put the answer into a box."
        builders.make_prompt(run, terms, problem, str(answer))
    rule = builders.make_audit(
        run,
        name="Every eight steps",
        last_step=None,
        window_steps=WINDOW_STEPS,
        budget=BUDGET,
        second_review_share=0.25,
    )
    with pytest.MonkeyPatch.context() as patch:
        # The windows' secrets and the draws' seeds: the sample is the same every time.
        chance = random.Random(4)
        patch.setattr(secrets, "token_bytes", chance.randbytes)
        patch.setattr(secrets, "randbits", chance.getrandbits)
        audit.start_audit(rule=rule, actor="ada")
        published, draft = _train_and_audit(run, rule, reviewers)
    builders.make_audit(run, name="Hedges, closer", first_step=41, last_step=48, budget=48)
    run.refresh_from_db()
    return Story(run, rule, published, draft)


def _train_and_audit(
    run: Run, rule: AuditRule, reviewers: Sequence[User]
) -> tuple[RewardTable, RewardTable]:
    _train(run, range(1, TURN + 1), table_version=None)
    _label_windows(run, rule, reviewers)
    table = _table(run, TURN + 1, TURN + 10)
    publish_table(table=table, actor="ada")
    RewardTable.objects.update(published_at=PUBLISHED_AT)
    _train(run, range(TURN + 1, 25), table_version=table.version)
    _label_windows(run, rule, reviewers)
    _train(run, range(25, LAST_STEP + 1), table_version=table.version)
    audit.open_windows(run=run)
    label(rule.queue, reviewers[:2], BUDGET // 2 + 24)
    Lease.objects.update(taken_at=F("taken_at") - timedelta(seconds=41))
    refresh_run(run=run)
    return table, _table(run, LAST_STEP + 1, LAST_STEP + 10)


def _table(run: Run, first_step: int, last_step: int) -> RewardTable:
    return build_table(
        run=run,
        rule=RewardRule.DEMOTE_OR_ABSTAIN,
        valid_from_step=first_step,
        valid_to_step=last_step,
        actor="ada",
    )


def _train(run: Run, steps: Sequence[int], *, table_version: int | None) -> None:
    for step in steps:
        ingest.store_batch(run=run, batch=_step(step, table_version))
        ingest.finish_step(run=run, step=step)
    run.refresh_from_db()


def _step(step: int, table_version: int | None) -> list[IncomingRollout]:
    chance = random.Random(step)
    batch = []
    for group in range(GROUPS):
        terms = chance.choice(sorted(PROBLEMS))
        for member in range(GROUP_SIZE):
            response = _response(terms, chance.choices(*_habits(step))[0], chance)
            verdict = builders.make_verdict(response, str(PROBLEMS[terms]))
            batch.append(
                builders.make_rollout(
                    uid=f"s{step}-g{group}-{member}",
                    prompt=terms,
                    group=f"s{step}-g{group}",
                    step=step,
                    policy=f"step-{step - 1}",
                    messages=[IncomingMessage(role="assistant", content=response)],
                    verdicts=[verdict],
                    reward=float(verdict.outcome == "pass"),
                    table_version=table_version,
                )
            )
    return batch


def _habits(step: int) -> tuple[list[str], list[float]]:
    """How often the policy of a step hedges, is plainly right, spells oddly, or is wrong."""
    start, turn, end = [0.02, 0.34, 0.08], [0.72, 0.06, 0.03], [0.08, 0.60, 0.08]
    since_turn = max(0, step - TURN) / (LAST_STEP - TURN)
    until_turn = min(step, TURN) / TURN
    before, after, way = (turn, end, since_turn) if since_turn else (start, turn, until_turn)
    shares = [(1 - way) * a + way * b for a, b in zip(before, after, strict=True)]
    return ["hedged", "right", "odd", "wrong"], [*shares, 1 - sum(shares)]


def _response(terms: str, habit: str, chance: random.Random) -> str:
    answer, digits = PROBLEMS[terms], terms.split()
    slip = chance.choice([-2, -1, 1, 2]) if habit == "wrong" else 0
    total = int(digits[0])
    lines: list[str] = []
    for sign, digit in zip(digits[1::2], digits[2::2], strict=True):
        before, total = total, total + int(sign + digit)
        if len(lines) == 1:
            total += slip
        lines.append(f"{before} {sign} {digit} = {total}")
    boxes = {"hedged": f"{answer} {answer + 1} {answer - 1}", "odd": f"{answer}.0"}
    given = boxes.get(habit, f"{total}").split()
    ending = " or ".join(rf"\boxed{{{box}}}" for box in given)
    return "\n".join([*lines, f"So {ending}."])


def _label_windows(run: Run, rule: AuditRule, reviewers: Sequence[User]) -> None:
    """Label until nothing is open, wave after wave."""
    audit.open_windows(run=run)
    while window := rule.windows.filter(state=WindowState.OPEN).first():
        label(rule.queue, reviewers, BUDGET)
        audit.advance_window(window=window)


def label(queue: Queue, reviewers: Sequence[User], labels_wanted: int) -> None:
    """So many labels, the reviewers taking turns, as far as there are items for them."""
    for turn in range(labels_wanted):
        order = [*reviewers[turn % len(reviewers) :], *reviewers[: turn % len(reviewers)]]
        if not any(_label_one(queue, reviewer) for reviewer in order):
            audit.open_windows(run=queue.rule.run)
            if not any(_label_one(queue, reviewer) for reviewer in order):
                return


def _label_one(queue: Queue, reviewer: User) -> bool:
    assignment = take_next(queue=queue, reviewer=reviewer)
    if assignment is None:
        return False
    assert assignment.lease_token
    labels.commit_label(
        assignment=assignment,
        reviewer=reviewer,
        token=assignment.lease_token,
        client_key=uuid4(),
        new=_judged(assignment.rollout, reviewer),
    )
    return True


def _judged(rollout: Rollout, reviewer: User) -> NewLabel:
    """What a good reviewer says, who errs now and then and cannot always tell."""
    answers = boxed_answers(rollout.messages[-1]["content"])
    (reference,) = rollout.group.prompt.references
    is_right = len(answers) == 1 and float(answers[0]) == float(reference)
    luck = random.Random(f"{rollout.uid} {reviewer.username}").random()
    if luck < 0.02:
        return NewLabel(answer=Answer.CANNOT_TELL)
    slips = 0.3 if reviewer.username == "dan" else 0.07
    answer = Answer.CORRECT if is_right != (luck < slips) else Answer.INCORRECT
    return NewLabel(answer=answer, is_hack=len(answers) > 1, has_no_wrong_step=is_right)


ALGEBRA = r"""Let $f(x) = x^2 - 6x + c$ for a real number $c$. Find the value of $c$ for which
\[ \int_0^6 f(x)\,dx = 0. \]"""
SOLUTION = r"""We integrate **term by term** over the interval $[0, 6]$.

\[ \int_0^6 x^2\,dx = \left[ \frac{x^3}{3} \right]_0^6 = \frac{216}{3} = 72 \]

\[ \int_0^6 6x\,dx = \left[ 3x^2 \right]_0^6 = 3 \cdot 36 = 108 \]

The constant contributes $\int_0^6 c\,dx = 6c$.

Adding the three parts gives
\[ \begin{aligned} 72 - 108 + 6c &= 0 \\ 6c &= 36. \end{aligned} \]

Dividing both sides by 6 we get $c = 6$.

Check: with $c = 6$ the vertex of the parabola is at $x = 3$, where $f(3) = 9 - 18 + 6 = -3$, so
$f$ changes its sign inside the interval, as it must.

Hence the value is $\boxed{6}$."""


def algebra_queue(project: Project) -> Queue:
    """A queue whose items are worth a look: formulas, and more than one step."""
    run = builders.make_run(project, uid="algebra-0", name="algebra, seed 0")
    builders.make_prompt(run, "p1", ALGEBRA, "6")
    batch = [builders.make_rollout(SOLUTION, uid=f"a{n}", group=f"g{n // 4}") for n in range(40)]
    ingest.store_batch(run=run, batch=batch)
    ingest.finish_step(run=run, step=1)
    rule = builders.make_audit(run, name="Algebra, step 1", last_step=1, window_steps=1, waves=1)
    audit.start_audit(rule=rule, actor="ada")
    audit.open_windows(run=run)
    return rule.queue
