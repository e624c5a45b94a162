"""What is on the server before somebody opens a page."""

from collections.abc import Sequence
from uuid import uuid4

from playwright.sync_api import Page, expect

from review.accounts.models import Project, User
from review.calibration.models import RewardRule, RewardTable
from review.calibration.services.tables import build_table
from review.flows import audit, ingest, labels
from review.labeling.models import Answer, Queue
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.runs.models import Run
from review.sampling.models import AuditRule
from tests import builders

FOUR_STEPS = "7 + 8 is asked.\n7 + 8 = 14 + 1\n14 + 1 = 15\nSo \\boxed{15}."


def make_queue(
    project: Project, rollouts: Sequence[tuple[str, str]], *, budget: int, waves: int = 1
) -> Queue:
    """The queue of a started audit over these (problem, response) pairs, its first wave open."""
    run = builders.make_run(project)
    batch = []
    for number, (problem, response) in enumerate(rollouts):
        builders.make_prompt(run, f"{run.uid}-p{number}", problem)
        batch.append(
            builders.make_rollout(
                response,
                uid=f"{run.uid}-r{number}",
                prompt=f"{run.uid}-p{number}",
                group=f"{run.uid}-g{number}",
            )
        )
    ingest.store_batch(run=run, batch=batch)
    ingest.finish_step(run=run, step=1)
    return open_audit(run, last_step=1, window_steps=1, budget=budget, waves=waves).queue


def open_audit(run: Run, **changes: object) -> AuditRule:
    rule = builders.make_audit(run, **changes)
    audit.start_audit(rule=rule, actor="test")
    audit.open_windows(run=run)
    return rule


def plain_queue(project: Project, items: int, *, budget: int, waves: int = 1) -> Queue:
    """A queue over so many rollouts of four steps each."""
    rollouts = [(f"Item {number}: 7 + 8", FOUR_STEPS) for number in range(items)]
    return make_queue(project, rollouts, budget=budget, waves=waves)


def label_everything(rule: AuditRule, reviewer: User) -> None:
    """Every wave of the audit, plainly spelled answers being right."""
    audit.open_windows(run=rule.run)
    while assignment := take_next(queue=rule.queue, reviewer=reviewer):
        text = assignment.rollout.messages[-1]["content"]
        assert assignment.lease_token
        labels.commit_label(
            assignment=assignment,
            reviewer=reviewer,
            token=assignment.lease_token,
            client_key=uuid4(),
            new=NewLabel(answer=Answer.INCORRECT if "16" in text else Answer.CORRECT),
        )
        audit.open_windows(run=rule.run)


def draft_table(run: Run) -> RewardTable:
    return build_table(
        run=run,
        rule=RewardRule.DEMOTE_OR_ABSTAIN,
        valid_from_step=3,
        valid_to_step=12,
        actor="test",
    )


def follow(page: Page, link: str) -> None:
    """Click the link and wait until the page behind it has run its scripts."""
    with page.expect_navigation():
        page.get_by_role("link", name=link).click()


def press(page: Page, keys: Sequence[str]) -> None:
    # What is pressed before the page has run its scripts is heard by nobody.
    page.wait_for_load_state("load")
    for key in keys:
        page.keyboard.press(key)


def token_of(page: Page) -> str:
    """The lease that the page holds: another one is another item, or the same one again."""
    return page.locator("#item").get_attribute("data-lease-token") or ""


def expect_other_item(page: Page, token: str) -> None:
    """Wait until the page shows another item than that of the lease, ready for the next key."""
    expect(page.locator("#item")).not_to_have_attribute("data-lease-token", token)
    expect(page.locator("[data-item-heading]")).to_be_focused()


def label_with(page: Page, keys: Sequence[str]) -> None:
    """Type the keys of one label and see the next item come."""
    token = token_of(page)
    press(page, keys)
    expect_other_item(page, token)
