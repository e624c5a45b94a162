"""`make bench-coverage`: simulated audits of the reference population, against its truth.

Audits through the product's own design, working model and estimator, in 4 waves with right
labels: do the intervals cover, how large is the bias, and how much larger is the mean squared
error of a uniform sample of as many labels? Beside them the same with true cell probabilities,
with a prior that knows next to nothing, with reviewers who err, and under an eye that looks after
every wave; and the textbook's pooled estimator. Several populations, the replicates divided
among them.

Shape suffixes: R = replicates, E = estimands, in the order of `Estimand`.
"""

import argparse
import json
import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context

import numpy as np

from review.stats.cells import BoolArray, FloatArray
from review.stats.estimands import Estimand
from tests.bench.peeking import ever_missed
from tests.bench.population import reference_population
from tests.bench.studies import (
    COMPROMISE_1000,
    COMPROMISES,
    ONE_REVIEW,
    ORACLE,
    OVERLAP,
    POOLED,
    RECALL_FOCUS,
    STUDIES,
    USELESS_PRIOR,
    Study,
)
from tests.bench.summaries import Results, Summary, joined, summarise
from tests.bench.uniform import uniform

AIMED_AT = (Estimand.RECALL, Estimand.FPR, Estimand.ACCURACY, Estimand.HACK_RATE)
CHUNK = 25

Summaries = Mapping[tuple[Study, Estimand], Summary]
Map = Callable[[Callable, Sequence], list]

population_of = cache(reference_population)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some replicates on one population: the same random numbers in whichever process."""

    population: int
    number: int
    replicates: int


@dataclass(frozen=True, slots=True)
class Target:
    figure: str
    relation: str
    bound: float

    def is_met(self, figure: float) -> bool:
        compare = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}[self.relation]
        return bool(compare(abs(figure), self.bound))


TARGETS = (
    Target("coverage_mean", ">=", 0.945),
    Target("coverage_min", ">=", 0.92),
    Target("bias_over_se_max", "<", 0.10),
    Target("recall_focus_efficiency", ">=", 4.0),
    Target("oracle_ratio", "<=", 1.4),
    Target("recall_efficiency", ">=", 2.2),
    Target("fpr_efficiency", ">=", 3.5),
    Target("accuracy_efficiency", ">=", 5.0),
    Target("hack_efficiency", ">=", 4.5),
    Target("compromise_efficiency_min", ">=", 1.0),
    Target("useless_prior_recall", ">=", 2.0),
    Target("useless_prior_fpr", ">=", 3.0),
    Target("peeking_miss", "<=", 0.05),
    Target("overlap_recall_bias", "<=", 0.006),
    Target("overlap_fpr_bias", "<=", 0.006),
    Target("reviews_per_item", "<=", 1.5),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000, help="audits of each kind")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104])
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    print_populations(arguments.seeds)
    chunks = divided(arguments.replicates, arguments.seeds)
    results: dict[Study, Results] = {}
    with mapping(arguments.jobs) as each:
        for study in STUDIES:
            with progress(f"{study.name}, {study.n} labels"):
                results[study] = joined(each(partial(audit, study), chunks))
        with progress("looks after every wave"):
            widths = expected_half_widths(results[COMPROMISE_1000])
            missed_E2 = np.concatenate(each(partial(watch, widths), chunks)).mean(0)
    summaries = summarise_all(results, arguments.seeds)
    print_studies(summaries)
    print_reviews(summaries, results)
    print_looks(missed_E2, arguments.replicates)
    figures = figures_of(summaries, results, missed_E2)
    print_targets(figures)
    rounded = {name: round(figure, 4) for name, figure in figures.items()}
    rounded |= {"replicates": arguments.replicates}
    print(json.dumps({"bench": "coverage", "figures": rounded}))


def divided(replicates: int, seeds: Sequence[int]) -> list[Chunk]:
    """The replicates divided among the populations, in chunks."""
    shares = np.diff(np.arange(len(seeds) + 1) * replicates // len(seeds)).tolist()
    return [
        Chunk(seed, number, min(CHUNK, share - start))
        for seed, share in zip(seeds, shares, strict=True)
        for number, start in enumerate(range(0, share, CHUNK))
    ]


@contextmanager
def mapping(jobs: int) -> Iterator[Map]:
    """`map` over so many processes."""
    if jobs == 1:
        yield lambda function, items: [function(item) for item in items]
        return
    # Forked, the workers start no services of their own.
    with get_context("fork").Pool(jobs) as pool:
        yield partial(pool.map, chunksize=1)


@contextmanager
def progress(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - started:.0f} s", flush=True)


def audit(study: Study, chunk: Chunk) -> Results:
    population = population_of(chunk.population)
    rng = np.random.default_rng([STUDIES.index(study), chunk.population, chunk.number])
    outcomes = [study.once(population, rng) for _ in range(chunk.replicates)]

    def of_each(attribute: str) -> FloatArray:
        # An undefined point, None, becomes nan.
        rows = [[getattr(o.intervals[e], attribute) for e in Estimand] for o in outcomes]
        return np.array(rows, float)

    return Results(
        point_RE=of_each("point"),
        low_RE=of_each("low"),
        high_RE=of_each("high"),
        truth_RE=np.tile([population.truth()[e] for e in Estimand], (len(outcomes), 1)),
        reviews_R=np.array([o.reviews for o in outcomes], float),
    )


def watch(half_widths: Mapping[Estimand, float], chunk: Chunk) -> BoolArray:
    """Axes: replicates; estimands; the interval for a single look, the one for any number."""
    population = population_of(chunk.population)
    rng = np.random.default_rng([len(STUDIES), chunk.population, chunk.number])
    runs = [
        ever_missed(population, target_half_widths=half_widths, rng=rng)
        for _ in range(chunk.replicates)
    ]
    return np.stack(runs)


def expected_half_widths(results: Results) -> dict[Estimand, float]:
    """Fixed before the first look: they come from other audits than those that are watched."""
    half_E = (results.high_RE - results.low_RE).mean(0) / 2
    return dict(zip(Estimand, half_E.tolist(), strict=True))


def summarise_all(results: Mapping[Study, Results], seeds: Sequence[int]) -> Summaries:
    populations = [population_of(seed) for seed in seeds]
    uniforms = {
        (n, estimand): uniform(populations, n=n, estimand=estimand)
        for n in {study.n for study in results}
        for estimand in Estimand
    }
    return {
        (study, estimand): summarise(result, estimand, uniforms[study.n, estimand])
        for study, result in results.items()
        for estimand in Estimand
    }


def figures_of(
    summaries: Summaries, results: Mapping[Study, Results], missed_E2: FloatArray
) -> dict[str, float]:
    compromise = [summaries[study, e] for study in COMPROMISES for e in AIMED_AT]
    recall, fpr, accuracy, hacks = (summaries[COMPROMISE_1000, e] for e in AIMED_AT)
    focused, oracle = (summaries[s, Estimand.RECALL] for s in (RECALL_FOCUS, ORACLE))
    useless = [summaries[USELESS_PRIOR, e] for e in AIMED_AT]
    aimed_at = [list(Estimand).index(e) for e in AIMED_AT]
    return {
        "coverage_mean": float(np.mean([s.covers for s in compromise])),
        "coverage_min": min(s.covers for s in compromise),
        "bias_over_se_max": max(abs(s.bias_over_se) for s in compromise),
        "bias_over_se_error": max(s.bias_over_se_error for s in compromise),
        "recall_focus_efficiency": focused.efficiency,
        "recall_focus_coverage": focused.covers,
        "oracle_ratio": focused.mse / oracle.mse,
        "recall_efficiency": recall.efficiency,
        "fpr_efficiency": fpr.efficiency,
        "accuracy_efficiency": accuracy.efficiency,
        "hack_efficiency": hacks.efficiency,
        "compromise_efficiency_min": min(s.efficiency for s in compromise),
        "useless_prior_recall": useless[0].efficiency,
        "useless_prior_fpr": useless[1].efficiency,
        "useless_prior_efficiency_min": min(s.efficiency for s in useless),
        "useless_prior_coverage_min": min(s.covers for s in useless),
        "pooled_coverage_min": min(summaries[s, e].covers for s in POOLED for e in AIMED_AT),
        "peeking_miss_fixed_n": float(missed_E2[aimed_at, 0].mean()),
        "peeking_miss": float(missed_E2[aimed_at, 1].max()),
        "single_recall_bias": summaries[ONE_REVIEW, Estimand.RECALL].bias,
        "single_fpr_bias": summaries[ONE_REVIEW, Estimand.FPR].bias,
        "overlap_recall_bias": summaries[OVERLAP, Estimand.RECALL].bias,
        "overlap_fpr_bias": summaries[OVERLAP, Estimand.FPR].bias,
        "reviews_per_item": reviews_per_item(OVERLAP, results),
    }


def reviews_per_item(study: Study, results: Mapping[Study, Results]) -> float:
    return float(results[study].reviews_R.mean() / study.n)


def print_populations(seeds: Sequence[int]) -> None:
    for seed in seeds:
        population = population_of(seed)
        truth = population.truth()
        values = ", ".join(f"{e.replace('_', ' ')} {truth[e]:.4f}" for e in Estimand)
        print(
            f"population {seed}: {population.count_M.sum():,} rollouts"
            f" in {len(population.frame)} cells; {values}",
            flush=True,
        )


def print_studies(summaries: Summaries) -> None:
    """x = efficiency; +- = Monte Carlo standard errors."""
    print(
        f"\n{'':31}{'covers':>14}{'bias':>9}{'bias/SE':>8}{'+-':>5}"
        f"{'width':>8}{'/uniform':>9}{'efficiency':>15}{'none':>6}"
    )
    previous = None
    for (study, estimand), s in summaries.items():
        if study is not previous:
            print(f"{study.name}, {study.n} labels")
        previous = study
        print(
            f"    {estimand.replace('_', ' '):27}"
            f"{100 * s.covers:7.1f} +- {100 * s.covers_error:3.1f}"
            f"{s.bias:+9.4f}{s.bias_over_se:+8.2f}{s.bias_over_se_error:5.2f}"
            f"{s.width:8.4f}{s.width / s.uniform_width:9.2f}"
            f"{s.efficiency:8.2f} +- {s.efficiency_error:4.2f}{s.undefined:6}"
        )


def print_reviews(summaries: Summaries, results: Mapping[Study, Results]) -> None:
    print(f"\n{'':31}{'reviews/item':>14}{'recall bias':>13}{'FPR bias':>10}")
    for study in (ONE_REVIEW, OVERLAP):
        recall, fpr = (summaries[study, e].bias for e in AIMED_AT[:2])
        reviews = reviews_per_item(study, results)
        print(f"{study.name:31}{reviews:14.2f}{recall:+13.4f}{fpr:+10.4f}")


def print_looks(missed_E2: FloatArray, replicates: int) -> None:
    print(f"\nmissed at one look of 19 or more {'one look':>12}{'monitor':>10}")
    for estimand, (single, monitor) in zip(Estimand, 100 * missed_E2, strict=True):
        print(f"    {estimand.replace('_', ' '):29}{single:10.1f} %{monitor:8.1f} %")
    print(f"    standard error of 5 %: {100 * np.sqrt(0.05 * 0.95 / replicates):.1f}")


def print_targets(figures: Mapping[str, float]) -> None:
    print()
    for target in TARGETS:
        figure = figures[target.figure]
        verdict = "met" if target.is_met(figure) else "MISSED"
        print(f"{target.figure:28}{figure:8.3f}  {target.relation:>2} {target.bound:<6} {verdict}")
    print()


if __name__ == "__main__":
    main()
