"""What a reward table would change, as its page says it before it is published."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from review.calibration.changes import MOST_IN_A_GROUP, TableChanges, changes_of
from review.calibration.models import RewardTable
from review.stats.advantages import Advantage
from review.stats.reward_changes import CellChange, LossChange, OutcomeChange
from review.web.cells import outcome_word, words_of
from review.web.figures import bar, percent, step_range
from review.web.words import said
from trainer.rewards import Cell

NAMES: Mapping[str, Promise] = {
    Advantage.GROUP: gettext_lazy("GRPO, DAPO"),
    Advantage.CENTRED: gettext_lazy("Dr. GRPO"),
    Advantage.LEAVE_ONE_OUT: gettext_lazy("RLOO"),
    Advantage.EXPECTED: gettext_lazy("Expected advantages"),
}
MEANINGS: Mapping[str, Promise] = {
    Advantage.GROUP: gettext_lazy("less the group's mean, over its standard deviation"),
    Advantage.CENTRED: gettext_lazy("less the group's mean"),
    Advantage.LEAVE_ONE_OUT: gettext_lazy("less the mean of the others"),
    Advantage.EXPECTED: gettext_lazy("the mean of GRPO's over what may be true"),
}
# Of trainers whose advantages are none of these.
OTHER_TRAINERS: Mapping[str, Promise] = {
    "steps": gettext_lazy(
        "This run's trainer rewards steps, not whole rollouts: of this table only who is left out"
        " reaches its advantages."
    ),
    "gae": gettext_lazy(
        "This run's trainer has a critic: its advantages are taken against the critic's values and"
        " no group takes anything out. What is said here is of losses without one."
    ),
    "pass-at-k": gettext_lazy(
        "This run's trainer takes rewards of 0 and 1 only: it uses no reward table."
    ),
}


def changes_context(table: RewardTable, asked: str) -> dict[str, object] | None:
    """asked: the loss that the reader chose; any other text leaves it at the run's own."""
    changes = changes_of(table)
    if changes is None:
        return None
    chosen = _chosen(changes, asked)
    return {
        "groups": changes.groups,
        "tried_on": _tried_on(changes),
        "passed_over": _passed_over(changes),
        "notes": _notes(changes),
        "is_unsaid": changes.trainer is None,
        "losses": [_loss(table, changes, change, chosen) for change in changes.losses],
        "chosen": _name(chosen),
        "summary": _summary(chosen),
        "no_op": _no_op(changes, chosen) if chosen.is_no_op else None,
        "figures": _figures(changes, chosen),
        "outcomes": [_outcome(row) for row in chosen.outcomes],
        "cells": [_cell(row, chosen.cells) for row in chosen.cells],
    }


def _chosen(changes: TableChanges, asked: str) -> LossChange:
    """The one that is asked for, else the run's own, else the first."""
    by_key = {change.loss: change for change in changes.losses}
    return by_key.get(asked) or by_key.get(changes.own or "") or changes.losses[0]


def _tried_on(changes: TableChanges) -> str:
    if not changes.groups or changes.first_step is None or changes.last_step is None:
        return ""
    parts = {
        "groups": f"{changes.groups:,}",
        "rollouts": f"{changes.rollouts:,}",
        "n": f"{changes.steps:,}",
        "steps": step_range(changes.first_step, changes.last_step),
    }
    if changes.is_sample:
        text = _(
            "Tried on a sample: the first groups, %(groups)s with %(rollouts)s rollouts, of %(n)s"
            " of the steps %(steps)s. Those steps are spread over the windows that it was fitted on"
            " and the newest steps."
        )
    else:
        text = _(
            "Tried on all %(groups)s groups (%(rollouts)s rollouts) of the windows that it was"
            " fitted on and of the newest steps: %(steps)s."
        )
    return text % parts


def _passed_over(changes: TableChanges) -> str:
    if not changes.passed_over:
        return ""
    return ngettext(
        "%(n)s group is passed over: it is purged, or has more than %(most)s rollouts.",
        "%(n)s groups are passed over: they are purged, or have more than %(most)s rollouts.",
        changes.passed_over,
    ) % {"n": f"{changes.passed_over:,}", "most": f"{MOST_IN_A_GROUP:,}"}


def _notes(changes: TableChanges) -> list[str]:
    notes = []
    if changes.trainer in OTHER_TRAINERS:
        notes.append(str(OTHER_TRAINERS[changes.trainer or ""]))
    elif changes.own and changes.own not in {change.loss for change in changes.losses}:
        notes.append(
            _(
                "This run's trainer makes expected advantages, which want probabilities: it cannot"
                " use a table of unbiased values."
            )
        )
    if changes.sums_channels:
        notes.append(
            _(
                "This run adds other rewards to correctness before they become advantages, so a"
                " table also changes how much correctness weighs among them. What is said here is"
                " of correctness alone."
            )
        )
    return notes


def _name(change: LossChange) -> str:
    name = str(NAMES[change.advantage])
    if not change.std_floor:
        return name
    return _("%(name)s, deviation at least %(floor)s") % {
        "name": name,
        "floor": f"{change.std_floor:g}",
    }


def _loss(
    table: RewardTable, changes: TableChanges, change: LossChange, chosen: LossChange
) -> dict[str, object]:
    url = reverse("web:table", args=[table.pk])
    return {
        "id": f"loss-{change.loss.replace('.', '-')}",
        "name": _name(change),
        "help": _meaning(change),
        "url": f"{url}?{urlencode({'loss': change.loss})}#changes",
        "is_chosen": change.loss == chosen.loss,
        "is_own": change.loss == changes.own,
        "is_no_op": change.is_no_op,
        "groups": percent(change.groups),
        "size": _number(change.size),
        "flipped": percent(change.flipped),
    }


def _meaning(change: LossChange) -> str:
    meaning = str(MEANINGS[change.advantage])
    if change.raw_std_floor == change.std_floor:
        return meaning
    return _("%(meaning)s; the floor comes with a table of probabilities") % {"meaning": meaning}


def _summary(change: LossChange) -> str:
    return _("Under %(loss)s it changes advantages in %(groups)s of the groups.") % {
        "loss": _name(change),
        "groups": percent(change.groups),
    }


def _no_op(changes: TableChanges, change: LossChange) -> dict[str, object]:
    others = [_name(other) for other in changes.losses if not other.is_no_op]
    return {
        "text": _("A no-op under %(loss)s: every advantage is what the raw verdict makes it.")
        % {"loss": _name(change)},
        "reason": said(change.reason),
        "others": "; ".join(others),
    }


def _figures(changes: TableChanges, change: LossChange) -> list[dict[str, str | None]]:
    spread = changes.spread
    return [
        {
            "label": _("Groups it changes"),
            "text": percent(change.groups),
            "help": _("With at least one rollout whose advantage changes; %(share)s of rollouts.")
            % {"share": percent(change.rollouts)},
        },
        {
            "label": _("Mean change of an advantage"),
            "text": _number(change.size),
            "help": _(
                "Up or down, over all rollouts. By the raw verdict they lie %(raw)s from 0 on"
                " average."
            )
            % {"raw": _number(change.size_raw)},
        },
        {
            "label": _("Advantages that change sign"),
            "text": percent(change.flipped),
            "help": _("Of all rollouts: encouraged before and discouraged now, or the reverse."),
        },
        {
            "label": _("Groups it tells apart"),
            "text": percent(spread.told_apart),
            "help": _(
                "Rollouts with the same verdict are paid differently there. Rewards vary at all in"
                " %(share)s of groups, raw verdicts in %(raw)s."
            )
            % {"share": percent(spread.varied), "raw": percent(spread.varied_raw)},
        },
    ]


def _outcome(row: OutcomeChange) -> dict[str, object]:
    return {
        "word": outcome_word(row.outcome),
        "rollouts": percent(row.rollouts),
        "left_out": percent(row.left_out),
        "before": _signed(row.before),
        "after": _signed(row.after),
        "size": _number(row.size),
        "flipped": percent(row.flipped),
    }


def _cell(row: CellChange, rows: Sequence[CellChange]) -> dict[str, object]:
    largest = max(other.share for other in rows)
    return {
        "key": row.cell,
        "words": words_of(Cell.parse(row.cell)),
        "rollouts": percent(row.rollouts),
        "raw": None if row.raw is None else f"{row.raw:g}",
        "paid": None if row.paid is None else f"{row.paid:.3f}",
        "left_out": percent(row.left_out) if row.left_out and row.paid is not None else None,
        "change": _signed(row.change),
        "share": percent(row.share),
        "bar": bar(0, row.share / largest),
    }


def _number(value: float) -> str:
    """Never 0.000 for something that is not nothing."""
    return "< 0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return "0.00" if text in {"+0.00", "-0.00"} else text.replace("-", "\N{MINUS SIGN}")
