"""The page of a reward table: what it would change, said before it is published."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.calibration.models import RewardRule, RewardTable
from review.calibration.services.tables import build_table
from review.runs.models import Run
from tests import builders
from tests.web.rules import signed_in

pytestmark = pytest.mark.django_db

HX = {"HX-Request": "true"}


@pytest.fixture
def audited(project: Project, ben: User) -> Run:
    run = builders.make_stored_run(project, groups=4)
    rule = builders.open_audit(run, budget=32, waves=1)
    builders.label_wave(rule, ben)
    return run


def built(run: Run, rule: RewardRule = RewardRule.DEMOTE_OR_ABSTAIN) -> RewardTable:
    return build_table(run=run, rule=rule, valid_from_step=3, valid_to_step=9, actor="test")


def path(table: RewardTable, query: str = "") -> str:
    return reverse("web:table", args=[table.pk]) + query


def chosen(page: str) -> list[str]:
    """The losses that the page marks as the one it is about."""
    return re.findall(r'aria-current="true">([^<]+)<', page.partition('id="losses"')[2])


def read(user: User, table: RewardTable, query: str = "", **headers: str) -> str:
    answer = signed_in(user).get(path(table, query), headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_says_what_changes_under_each_loss(audited: Run, ada: User) -> None:
    page = read(ada, built(audited))
    assert "Tried on all 8 groups (32 rollouts)" in page
    assert "Under GRPO, DAPO it changes advantages in 100.0 % of the groups." in page
    assert "config does not say which one it trains with" in page
    for name in ("GRPO, DAPO", "Dr. GRPO", "RLOO", "Expected advantages"):
        assert name in page
    assert "no-op" not in page
    assert chosen(page) == ["GRPO, DAPO"]
    assert 'title="pass/boxed/integer/2+|s-|a-|p0|arithmetic"' in page


def test_the_losss_link_gives_that_loss_alone_or_the_page(audited: Run, ada: User) -> None:
    table = built(audited)
    assert chosen(read(ada, table, "?loss=centred")) == ["Dr. GRPO"]
    part = read(ada, table, "?loss=group-0.3", **HX)
    assert part.lstrip().startswith("<section")
    assert chosen(part) == ["GRPO, DAPO, deviation at least 0.3"]


def test_a_floor_that_comes_with_the_table_is_said(audited: Run, ada: User) -> None:
    assert "the floor comes with a table" in read(ada, built(audited, RewardRule.POSTERIOR))
    assert "the floor comes with a table" not in read(ada, built(audited))


def test_a_loss_that_is_none_leaves_it_at_the_runs_own(audited: Run, ada: User) -> None:
    audited.config = {"objective": {"advantage": "leave-one-out"}}
    audited.save()
    table = built(audited)
    for loss in ("", "gae", "GROUP", "%00", "<script>alert(1)", "x" * 2000, "group&loss="):
        page = read(ada, table, f"?loss={loss}")
        assert chosen(page) == ["RLOO"]
        assert "alert(1)" not in page


def make_no_op(table: RewardTable) -> RewardTable:
    """As if nothing had changed under GRPO."""
    for change in table.preview["changes"]["losses"]:
        if change["loss"] == "group":
            change |= {"is_no_op": True, "groups": 0, "size": 0, "cells": []}
            change["reason"] = (
                "in every group all rollouts have the same verdict and the same reward"
            )
    RewardTable.objects.filter(pk=table.pk).update(preview=table.preview)
    return table


def test_a_no_op_is_called_that_with_what_would_not_be_one(audited: Run, ada: User) -> None:
    table = make_no_op(built(audited))
    page = read(ada, table)
    assert "A no-op under GRPO, DAPO" in page
    assert "because in every group all rollouts have the same verdict" in page
    assert "makes a difference under: GRPO, DAPO, deviation at least 0.3; Dr. GRPO" in page
    assert '<span class="tag tag-warning">no-op</span>' in page
    other = read(ada, table, "?loss=centred")
    assert "A no-op under" not in other
    # It can be published all the same: the lead has been told.
    assert reverse("web:table-publish", args=[table.pk]) in page


def test_what_the_runs_trainer_does_otherwise_is_said(audited: Run, ada: User) -> None:
    for config, said in (
        ({"objective": {"advantage": "steps"}}, "trainer rewards steps"),
        ({"objective": {"advantage": "gae"}}, "trainer has a critic"),
        ({"objective": {"advantage": "pass-at-k"}}, "uses no reward table"),
        ({"grpo": {"truncated": "punished"}}, "adds other rewards to correctness"),
    ):
        audited.config = config
        audited.save()
        assert said in read(ada, built(audited))


def test_expected_advantages_cannot_use_unbiased_values(audited: Run, ada: User) -> None:
    audited.config = {"objective": {"advantage": "expected"}}
    audited.save()
    page = read(ada, built(audited, RewardRule.UNBIASED))
    assert "cannot use a table of unbiased values" in page
    assert "Expected advantages" not in page


def test_without_groups_to_try_it_on_it_says_so(audited: Run, ada: User) -> None:
    table = built(audited)
    table.preview["changes"] |= {"groups": 0, "first_step": None, "last_step": None}
    table.preview["changes"]["passed_over"] = 40
    RewardTable.objects.filter(pk=table.pk).update(preview=table.preview)
    page = read(ada, table)
    assert "No group to try it on" in page
    assert "40 groups are passed over: they are purged" in page


def test_a_table_from_before_says_that_it_was_not_measured(audited: Run, ada: User) -> None:
    table = built(audited)
    del table.preview["changes"]
    RewardTable.objects.filter(pk=table.pk).update(preview=table.preview)
    page = read(ada, table, "?loss=centred")
    assert "before its effect on advantages was measured" in page
    assert "Rejections left out" in page


def test_only_a_lead_of_the_project_reads_it(
    audited: Run, ada: User, ben: User, cyd: User, project: Project
) -> None:
    table = built(audited)
    theirs = builders.make_project("Theirs")
    lead_elsewhere = builders.make_user(theirs, *Role)
    for query in ("", "?loss=centred"):
        for user in (ben, cyd, lead_elsewhere):
            assert signed_in(user).get(path(table, query)).status_code == 404
            assert signed_in(user).get(path(table, query), headers=HX).status_code == 404
    assert read(ada, table)


def test_reading_it_reads_no_rollouts(audited: Run, ada: User) -> None:
    client, table = signed_in(ada), built(audited)
    with CaptureQueriesContext(connection) as queries:
        client.get(path(table))
    statements = [query["sql"] for query in queries.captured_queries]
    assert not [sql for sql in statements if 'FROM "rollouts_rollout"' in sql]
    assert len(statements) < 20
