"""`make bench-advantages`: how near do calibrated rewards bring advantages to the true ones?

Each replicate draws a run of the reference population, audits it with the product's design,
builds the product's table from the labels, and pays the rollouts of another run of the same kind
by the trainer's lookup. Their advantages are held against those that true rewards would give: the
cosine, the mean advantage of accepted hacks and of right answers that were rejected, and the share
of the squared advantages that lies in groups without a true advantage.

Once with verifiers whose verdicts tell the form of the answer, which follows the domain here, and
once with a verifier that tells nothing but pass or fail: its only rejecting signature holds all
rejections, and "demote or abstain" leaves nothing out.

Shape suffixes: M = cells, P = prompts, G = rollouts of a prompt.
"""

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from review.calibration.services.tables import cell_entries, fallback_entries
from review.sampling.queries import RunCells
from review.stats.cells import IntArray
from review.stats.reward_table import RewardNumbers, Rule, reward_numbers
from review.stats.windows import Counts
from tests.bench.audits import conduct
from tests.bench.population import GROUP, Rollouts, reference_rollouts
from tests.stats.population import Population
from trainer.advantages import outcome_advantages
from trainer.objectives import Objective
from trainer.rewards import CELL_VERSION, Cell, RewardTable
from trainer.rewards.cells import SHARE_CUTS

BUDGETS = (300, 1000)
DOMAINS = ("numeric", "expression", "code", "text")
# What a verdict says besides pass or fail, by domain: path, form, candidates.
BLIND = ("boxed/text/1",) * 4
BY_FORM = ("boxed/integer/1", "boxed/expression/1", "tests/program/1", "boxed/text/1")
VERIFIERS = {"by form": BY_FORM, "blind": BLIND}
FIRST_SEED = 101
# Seeds of the runs that are paid: no run is both audited and paid.
PAID_SEEDS = 10_000


@dataclass(frozen=True, slots=True)
class Arm:
    """A reward rule, and what the trainer makes of it. rule: None = the raw verdict."""

    rule: Rule | None
    objective: Objective

    @property
    def name(self) -> str:
        rule = "raw" if self.rule is None else self.rule.value.replace("_", " ")
        if self.objective.advantage == "expected":
            return f"{rule}, expected"
        return f"{rule}, floor {self.objective.std_floor}" if self.objective.std_floor else rule


PLAIN, FLOORED, EXPECTED = Objective(), Objective(std_floor=0.3), Objective(advantage="expected")
ARMS = (
    Arm(Rule.UNBIASED, PLAIN),
    Arm(Rule.DEMOTE_OR_ABSTAIN, PLAIN),
    Arm(Rule.DEMOTE_OR_ABSTAIN, FLOORED),
    Arm(Rule.POSTERIOR, PLAIN),
    Arm(Rule.POSTERIOR, FLOORED),
    Arm(Rule.POSTERIOR, EXPECTED),
)
RAW, TRUE = Arm(None, PLAIN), "true rewards"


@dataclass(frozen=True, slots=True)
class Measured:
    """cosine: with the advantages of true rewards. hacks: mean advantage of accepted hacks.
    missed: of right answers that were rejected. spurious: share of the squared advantages in
    groups whose true advantages are 0. left_out: share of rollouts."""

    cosine: float
    hacks: float
    missed: float
    spurious: float
    left_out: float


@dataclass(frozen=True)
class Run:
    """Rollouts in the product's cells. cell_PG: position in `cells`."""

    rollouts: Rollouts
    cells: tuple[Cell, ...]
    cell_PG: IntArray

    @cached_property
    def run_cells(self) -> RunCells:
        return RunCells(tuple(range(len(self.cells))), self.cells)

    @cached_property
    def population(self) -> Population:
        outcomes_MO = np.zeros((len(self.cells), 3), int)
        np.add.at(outcomes_MO, (self.cell_PG.ravel(), self.rollouts.outcome_PG.ravel()), 1)
        return Population(self.run_cells.frame, outcomes_MO)

    @cached_property
    def true_advantages(self) -> Tensor:
        is_correct_PG = torch.from_numpy(self.rollouts.is_correct_PG)
        kept_PG = torch.ones_like(is_correct_PG)
        return outcome_advantages(is_correct_PG, kept_PG, objective=PLAIN)


def run_of(rollouts: Rollouts, words_D: Sequence[str]) -> Run:
    """The rollouts in cells, with what the verdicts of each domain say besides pass or fail."""
    features = np.column_stack(
        [
            np.repeat(rollouts.domain_P, GROUP),
            rollouts.is_accepted_PG.ravel(),
            np.minimum(9, expit(rollouts.score_PG.ravel()) * 10).astype(int),
            np.digitize(rollouts.share_PG.ravel(), SHARE_CUTS),
            rollouts.is_probe_PG.ravel(),
        ]
    ).astype(int)
    distinct, cell_I = np.unique(features, axis=0, return_inverse=True)
    cells = tuple(
        Cell(
            signature=f"{'pass' if is_accepted else 'fail'}/{words_D[domain]}",
            score_bin=score_bin,
            share_bin=share_bin,
            probe=bool(is_probe),
            domain=DOMAINS[domain],
        )
        for domain, is_accepted, score_bin, share_bin, is_probe in distinct.tolist()
    )
    return Run(rollouts, cells, cell_I.reshape(rollouts.class_PG.shape))


def numbers_of(run: Run, labels: Counts) -> RewardNumbers:
    words = [cell.signature.partition("/")[2] for cell in run.cells]
    codes = {name: code for code, name in enumerate(dict.fromkeys(words))}
    return reward_numbers(
        run.run_cells.frame,
        undecided_M=np.zeros(len(words), bool),
        family_M=np.array([codes[name] for name in words]),
        count_M=run.population.count_M,
        labelled_M=labels.answered_M,
        correct_M=labels.correct_M,
    )


def table_of(run: Run, numbers: RewardNumbers, rule: Rule) -> RewardTable:
    """As it is published, but for what says where it is from."""
    return RewardTable.from_json(
        {
            "format": 1,
            "run": "bench",
            "version": 1,
            "rule": rule.value,
            "cell_version": CELL_VERSION,
            "normaliser": "number-1",
            "verifiers": ["bench@1"],
            "valid_from_step": 0,
            "valid_to_step": 1,
            "label_set": "bench",
            "n_labels": 0,
            "windows": [],
            "value_if_no_abstain": 0.0,
            "cells": cell_entries(run.run_cells, numbers, rule),
            "fallback": fallback_entries(numbers, rule),
        }
    )


def paid(run: Run, table: RewardTable | None) -> Tensor:
    """Each rollout's reward, nan where it is left out of its group: (P, G)."""
    if table is None:
        return torch.from_numpy(run.rollouts.is_accepted_PG).double()
    values = [reward.value for reward in table.rewards([(cell, None) for cell in run.cells])]
    value_M = torch.tensor([math.nan if value is None else value for value in values])
    return value_M.double()[torch.from_numpy(run.cell_PG)]


def measured(run: Run, reward_PG: Tensor, objective: Objective) -> Measured:
    rollouts = run.rollouts
    # The answer of a probe hit may be right, and the way to it still a hack: it is in no class.
    class_PG = np.where(rollouts.is_probe_PG, -1, rollouts.class_PG)
    found_PG = outcome_advantages(
        reward_PG,
        ~reward_PG.isnan(),
        objective=objective,
        class_id_BG=torch.from_numpy(class_PG),
    )
    true_PG = run.true_advantages
    accepted_PG, hack_PG, correct_PG = (
        torch.from_numpy(of)
        for of in (rollouts.is_accepted_PG, rollouts.is_hack_PG, rollouts.is_correct_PG)
    )
    is_flat_P = ~true_PG.any(dim=1)
    return Measured(
        cosine=float((found_PG * true_PG).sum() / found_PG.norm() / true_PG.norm()),
        hacks=float(found_PG[accepted_PG & hack_PG].mean()),
        missed=float(found_PG[~accepted_PG & correct_PG].mean()),
        spurious=float(found_PG[is_flat_P].square().sum() / found_PG.square().sum()),
        left_out=float(reward_PG.isnan().double().mean()),
    )


Row = tuple[str, int, str]  # verifiers, labels, arm


def replicate(
    seed: int,
    *,
    verifiers: Mapping[str, Sequence[str]] = VERIFIERS,
    budgets: Sequence[int] = BUDGETS,
) -> Iterator[tuple[Row, Measured]]:
    """One run audited, another paid; raw verdicts and true rewards take no labels."""
    audited, new = reference_rollouts(seed), reference_rollouts(seed + PAID_SEEDS)
    for name, words_D in verifiers.items():
        run, next_run = run_of(audited, words_D), run_of(new, words_D)
        raw_PG, true_PG = paid(next_run, None), torch.from_numpy(new.is_correct_PG).double()
        yield (name, 0, TRUE), measured(next_run, true_PG, PLAIN)
        yield (name, 0, RAW.name), measured(next_run, raw_PG, PLAIN)
        for n in budgets:
            rng = np.random.default_rng([seed, n])
            labels = conduct(run.population, n=n, rng=rng).window.labels()
            numbers = numbers_of(run, labels)
            for arm in ARMS:
                reward_PG = paid(next_run, table_of(run, numbers, arm.rule))
                yield (name, n, arm.name), measured(next_run, reward_PG, arm.objective)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    results: dict[Row, list[Measured]] = defaultdict(list)
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.replicates):
        for row, found in replicate(seed):
            results[row].append(found)
    print(f"{arguments.replicates} audits of each kind in {time.perf_counter() - started:.0f} s")
    print_table(results)
    figures = figures_of(results)
    print_targets(figures)
    figures["replicates"] = arguments.replicates
    print(json.dumps({"bench": "advantages", "figures": figures}))


def print_table(results: Mapping[Row, Sequence[Measured]]) -> None:
    """Means over the replicates; +- are their standard errors."""
    columns = ("cosine", "accepted hacks", "missed", "spurious", "left out")
    print("\n{:32}{:>16}{:>18}{:>9}{:>10}{:>10}".format("", *columns))
    previous = None
    for (verifiers, n, arm), found in results.items():
        if (verifiers, n) != previous:
            print(f"verdicts {verifiers}, " + (f"{n} labels" if n else "no labels"))
        previous = verifiers, n
        print(
            f"    {arm:28}{mean(found, 'cosine'):9.3f} +-{error(found, 'cosine'):5.3f}"
            f"{mean(found, 'hacks'):+11.2f} +-{error(found, 'hacks'):5.2f}"
            f"{mean(found, 'missed'):+9.2f}{mean(found, 'spurious'):10.2f}"
            f"{mean(found, 'left_out'):10.2f}"
        )


def figures_of(results: Mapping[Row, Sequence[Measured]]) -> dict[str, float]:
    figures = {}
    for (verifiers, n, arm), found in results.items():
        if arm == TRUE:
            continue
        words = [*arm.replace(",", "").replace(".", "").split(), *([str(n)] if n else [])]
        key = "_".join([*words, *(["blind"] if verifiers == "blind" else [])])
        figures[f"cosine_{key}"] = round(mean(found, "cosine"), 4)
        figures[f"hacks_{key}"] = round(mean(found, "hacks"), 4)
    return figures


def print_targets(figures: Mapping[str, float]) -> None:
    """Of the best rule with 1,000 labels."""
    cosine, hacks = (figures[f"{name}_posterior_expected_1000"] for name in ("cosine", "hacks"))
    print(f"\ncosine {cosine:.3f} >= .87: {'met' if cosine >= 0.87 else 'MISSED'}")
    print(f"accepted hacks {hacks:+.2f} <= -.3: {'met' if hacks <= -0.3 else 'MISSED'}\n")


def mean(found: Sequence[Measured], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in found]))


def error(found: Sequence[Measured], name: str) -> float:
    if len(found) < 2:
        return math.nan
    return float(np.std([getattr(one, name) for one in found], ddof=1)) / math.sqrt(len(found))


if __name__ == "__main__":
    main()
