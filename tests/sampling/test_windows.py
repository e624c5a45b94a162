import hashlib
import hmac
import json
from dataclasses import replace

import numpy as np
import pytest
from django.db import connection

from review.accounts.models import Project
from review.flows import audit, ingest
from review.rollouts.models import Rollout
from review.runs.models import Run, RunStatus
from review.sampling.errors import InvalidRuleError, RuleStateError
from review.sampling.models import (
    AuditRule,
    Draw,
    FrameRow,
    RuleState,
    WaveState,
    Window,
    WindowState,
)
from review.sampling.queries import cells_of, windows_for_run
from review.sampling.services.rules import settings_of
from review.sampling.services.waves import DRAW_SQL, close_wave, draw_wave
from review.sampling.services.windows import extend_windows, write_frame
from tests import builders

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project: Project) -> Run:
    return builders.make_stored_run(project)


def opened_window(run: Run, **changes: object) -> Window:
    return builders.open_audit(run, **changes).windows.get()


def test_a_prn_is_the_hmac_of_the_rollouts_uid_under_the_windows_secret(run: Run) -> None:
    window = opened_window(run)
    for row in FrameRow.objects.filter(window=window).select_related("rollout")[:20]:
        digest = hmac.new(bytes(window.secret), row.rollout.uid.encode(), hashlib.sha256).digest()
        assert row.prn == int.from_bytes(digest[:8], "big") & (2**63 - 1)


def test_a_frame_holds_every_rollout_of_the_windows_steps_once(run: Run) -> None:
    builders.make_rollout()
    window = opened_window(run, first_step=2, last_step=2, window_steps=1)
    rows = FrameRow.objects.filter(window=window).values_list("rollout_id", flat=True)
    steps = Rollout.objects.filter(run=run, step=2).values_list("pk", flat=True)
    assert sorted(rows) == sorted(steps)
    assert window.frame_size == len(steps)


def test_a_wave_draws_the_next_rollouts_of_each_cell_in_prn_order(run: Run) -> None:
    window = opened_window(run)
    drawn = list(Draw.objects.filter(window=window).order_by("cell_id", "prn"))
    for cell_id in {draw.cell_id for draw in drawn}:
        mine = [draw.rollout_id for draw in drawn if draw.cell_id == cell_id]
        frame = FrameRow.objects.filter(window=window, cell_id=cell_id).order_by("prn")
        assert mine == list(frame.values_list("rollout_id", flat=True)[: len(mine)])


def test_each_draw_keeps_the_weight_of_its_stratum(run: Run) -> None:
    window = opened_window(run)
    wave = window.waves.get()
    strata: dict[int, tuple[int, int]] = {}
    for seen in wave.cells.all():
        if seen.stratum is not None:
            size, _ = strata.get(seen.stratum, (0, 0))
            strata[seen.stratum] = (size + seen.remaining, 0)
    for draw in wave.draws.all():
        size, count = strata[draw.stratum]
        strata[draw.stratum] = (size, count + 1)
    for draw in wave.draws.all():
        size, count = strata[draw.stratum]
        assert draw.weight == pytest.approx(size / count)


def test_no_rollout_is_drawn_twice_in_a_window_however_many_waves(run: Run) -> None:
    window = opened_window(run, budget=160, waves=5)
    cells = len(cells_of(run).ids)
    for _ in range(6):
        close_wave(wave=window.waves.latest("number"))
        draw_wave(window=window, f_M=np.full(cells, 0.5), q_M=np.zeros(cells))
    drawn = Draw.objects.filter(window=window).values_list("rollout_id", flat=True)
    assert len(drawn) == len(set(drawn)) == 160


def test_a_second_wave_waits_for_the_first(run: Run) -> None:
    window = opened_window(run)
    cells = len(cells_of(run).ids)
    assert draw_wave(window=window, f_M=np.full(cells, 0.5), q_M=np.zeros(cells)) is None
    assert window.waves.filter(state=WaveState.OPEN).count() == 1


def test_opening_windows_twice_changes_nothing(run: Run) -> None:
    window = opened_window(run)
    audit.open_windows(run=run)
    audit.advance_window(window=window)
    assert Window.objects.filter(rule__run=run).count() == 1
    assert window.waves.count() == 1


def test_an_open_ended_rule_makes_windows_as_the_run_goes_on(run: Run) -> None:
    rule = builders.make_audit(run, first_step=1, last_step=None, window_steps=3)
    audit.start_audit(rule=rule, actor="test")
    audit.open_windows(run=run)
    assert [str(window) for window in rule.windows.all()] == ["steps 1-3"]
    assert rule.windows.get().state == WindowState.COLLECTING
    builders.store_steps(run, [3, 4], groups=2)
    run.refresh_from_db()
    audit.open_windows(run=run)
    states = list(rule.windows.values_list("first_step", "state"))
    assert states == [(1, WindowState.OPEN), (4, WindowState.COLLECTING)]


def moved_on(run: Run, steps: list[int]) -> None:
    builders.store_steps(run, steps, groups=2)
    run.refresh_from_db()
    audit.open_windows(run=run)


def end_at(rule: AuditRule, last_step: int | None) -> None:
    settings = replace(settings_of(rule.current), last_step=last_step)
    audit.change_audit(rule=rule, settings=settings, actor="ada")


def spans(rule: AuditRule) -> list[tuple[str, str]]:
    return [(str(window), window.state) for window in rule.windows.all()]


def test_no_step_is_left_out_when_a_rule_goes_on_behind_a_short_window(run: Run) -> None:
    rule = builders.open_audit(run, first_step=1, last_step=2, window_steps=3)
    assert spans(rule) == [("steps 1-2", "open")]
    end_at(rule, 9)
    moved_on(run, [3, 4, 5, 6, 7, 8, 9])
    assert spans(rule) == [
        ("steps 1-2", "open"),
        ("steps 3-5", "open"),
        ("steps 6-8", "open"),
        ("steps 9-9", "open"),
    ]
    framed = FrameRow.objects.filter(window__rule=rule).values("rollout")
    assert not Rollout.objects.filter(run=run).exclude(pk__in=framed).exists()


def test_a_short_window_that_collects_grows_with_its_rule(run: Run) -> None:
    rule = builders.open_audit(run, first_step=1, last_step=4, window_steps=5)
    assert spans(rule) == [("steps 1-4", "collecting")]
    end_at(rule, None)
    assert spans(rule) == [("steps 1-5", "collecting")]
    moved_on(run, [3, 4])
    assert spans(rule) == [("steps 1-5", "collecting")]
    moved_on(run, [5, 6])
    assert spans(rule) == [("steps 1-5", "open"), ("steps 6-10", "collecting")]


def test_a_window_that_collects_ends_where_its_rule_does_now(run: Run) -> None:
    rule = builders.open_audit(run, first_step=1, last_step=None, window_steps=5)
    end_at(rule, 2)
    assert spans(rule) == [("steps 1-2", "collecting")]
    audit.open_windows(run=run)
    assert spans(rule) == [("steps 1-2", "open")]
    assert rule.windows.get().frame_size == Rollout.objects.filter(run=run).count()


def test_a_window_behind_the_rules_new_end_goes_and_comes_back(run: Run) -> None:
    rule = builders.open_audit(run, first_step=1, last_step=None, window_steps=2)
    ingest.store_batch(run=run, batch=[builders.make_rollout(step=4, group="on its way")])
    audit.open_windows(run=run)
    both = [("steps 1-2", "open"), ("steps 3-4", "collecting")]
    assert spans(rule) == both
    end_at(rule, 2)
    assert spans(rule) == both[:1]
    end_at(rule, 8)
    assert spans(rule) == both


def test_a_fixed_frame_stays_when_its_rule_ends_earlier(run: Run) -> None:
    rule = builders.open_audit(run, first_step=1, last_step=2, window_steps=2)
    end_at(rule, 1)
    moved_on(run, [3])
    assert spans(rule) == [("steps 1-2", "open")]


def test_a_rule_whose_new_end_leaves_only_closed_windows_is_finished(run: Run) -> None:
    rule = builders.open_audit(run, first_step=1, last_step=None, window_steps=2)
    ingest.store_batch(run=run, batch=[builders.make_rollout(step=3, group="on its way")])
    audit.open_windows(run=run)
    audit.end_window(window=rule.windows.get(number=0), actor="ada")
    end_at(rule, 2)
    audit.open_windows(run=run)
    rule.refresh_from_db()
    assert rule.state == RuleState.FINISHED


def test_a_frame_is_not_written_of_a_window_that_has_grown_meanwhile(run: Run) -> None:
    rule = builders.make_audit(run, last_step=2, window_steps=3)
    audit.start_audit(rule=rule, actor="test")
    (window,) = extend_windows(rule=rule)
    end_at(rule, None)
    write_frame(window=window)
    assert spans(rule) == [("steps 1-3", "collecting")]
    assert not FrameRow.objects.exists()


def test_a_frame_is_not_written_of_a_window_that_has_gone_meanwhile(run: Run) -> None:
    rule = builders.make_audit(run, last_step=2, window_steps=1)
    audit.start_audit(rule=rule, actor="test")
    first, second = extend_windows(rule=rule)
    end_at(rule, 1)
    write_frame(window=second)
    assert spans(rule) == [(str(first), "collecting")]
    assert not FrameRow.objects.exists()


def test_a_window_ends_early_where_its_run_does(run: Run) -> None:
    rule = builders.make_audit(run, first_step=1, last_step=None, window_steps=10)
    audit.start_audit(rule=rule, actor="test")
    ingest.finish_run(run=run, status=RunStatus.FINISHED, actor="test")
    run.refresh_from_db()
    audit.open_windows(run=run)
    window = rule.windows.get()
    assert (window.first_step, window.last_step, window.state) == (1, 2, WindowState.OPEN)


def test_a_rule_ends_when_its_run_ended_before_its_first_step(run: Run) -> None:
    rule = builders.make_audit(run, first_step=50, last_step=None, window_steps=10)
    audit.start_audit(rule=rule, actor="test")
    ingest.finish_run(run=run, status=RunStatus.FINISHED, actor="test")
    run.refresh_from_db()
    audit.open_windows(run=run)
    rule.refresh_from_db()
    assert rule.state == RuleState.FINISHED
    assert not rule.windows.exists()


def test_steps_without_rollouts_make_no_windows(run: Run) -> None:
    builders.store_steps(run, [1_000_000_000], groups=1)
    run.refresh_from_db()
    rule = builders.make_audit(run, first_step=1, last_step=None, window_steps=1)
    audit.start_audit(rule=rule, actor="test")
    audit.open_windows(run=run)
    assert list(rule.windows.values_list("first_step", flat=True)) == [1, 2, 1_000_000_000]


def test_a_rule_over_steps_without_rollouts_is_finished(run: Run) -> None:
    rule = builders.make_audit(run, first_step=8, last_step=9, window_steps=2)
    audit.start_audit(rule=rule, actor="test")
    ingest.change_run(run=run, completed_step=9, status=None, actor="test")
    run.refresh_from_db()
    audit.open_windows(run=run)
    rule.refresh_from_db()
    assert rule.state == RuleState.FINISHED


def test_of_windows_that_overlap_the_first_started_counts(run: Run) -> None:
    first = opened_window(run, name="first")
    close_wave(wave=first.waves.get())
    second = opened_window(run, name="second", first_step=2, last_step=2, window_steps=1)
    close_wave(wave=second.waves.get())
    assert windows_for_run(run) == [first]


@pytest.mark.parametrize(
    ("field", "value"),
    [("budget", 0), ("budget", 7), ("waves", 0), ("window_steps", 0), ("last_step", 0)],
)
def test_a_rule_that_cannot_be_met_is_refused_with_its_field(
    run: Run, field: str, value: int
) -> None:
    with pytest.raises(InvalidRuleError) as refusal:
        builders.make_audit(run, **{field: value})
    assert field in refusal.value.fields
    assert not AuditRule.objects.exists()


def test_an_audit_is_started_once(run: Run) -> None:
    rule = builders.make_audit(run)
    audit.start_audit(rule=rule, actor="test")
    with pytest.raises(RuleStateError):
        audit.start_audit(rule=rule, actor="test")


def test_a_draw_walks_the_frame_by_index_and_reads_only_what_it_draws(run: Run) -> None:
    window = opened_window(run)
    wave = window.waves.get()
    values = {"window": window.pk, "wave": wave.pk, "cells": [], "counts": [], "after": []}
    for seen in wave.cells.all():
        values["cells"].append(seen.cell_id)  # type: ignore[union-attr]
        values["counts"].append(1)  # type: ignore[union-attr]
        values["after"].append(2**62)  # type: ignore[union-attr]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN (FORMAT JSON) " + DRAW_SQL, values)
        (plan,) = cursor.fetchone()
    text = json.dumps(plan)
    assert '"Relation Name": "sampling_framerow"' in text
    assert "Seq Scan" not in text
    assert '"Node Type": "Sort"' not in text
