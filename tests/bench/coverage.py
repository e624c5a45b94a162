"""`make bench-coverage`: simulated audits of the reference population, against its truth.

Audits through the product's own design, working model and estimator, in 4 waves with right
labels: do the intervals cover, how large is the bias, and how much larger is the mean squared
error of a uniform sample of as many labels? Beside them the same with true cell probabilities,
with a prior that knows next to nothing, with reviewers who err, and under an eye that looks after
every wave; and the textbook's pooled estimator. Several populations, the replicates divided
among them.

Shape suffixes: R = replicates, E = estimands, 2 = the interval for one look, the one for any number
of looks.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context

import numpy as np

from review.stats.cells import BoolArray, FloatArray
from review.stats.estimands import Estimand
from tests.bench.figures import TARGETS, Figure, Summaries, figures_of
from tests.bench.peeking import ever_missed
from tests.bench.population import reference_population
from tests.bench.studies import COMPROMISE_1000, ONE_REVIEW, OVERLAP, STUDIES, Study
from tests.bench.summaries import Results, joined, summarise
from tests.bench.uniform import uniform

CHUNK = 25
# Runs of 19 looks: each costs as much as a dozen audits.
MOST_WATCHED = 400

Map = Callable[[Callable, Sequence], list]

population_of = cache(reference_population)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some replicates on one population: the same random numbers in whichever process."""

    population: int
    number: int
    replicates: int


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
        for number, study in enumerate(STUDIES):
            with progress(f"{study.name}, {study.n} labels"):
                results[study] = joined(each(partial(audit, number), chunks))
        with progress("a look after every wave"):
            widths = expected_half_widths(results[COMPROMISE_1000])
            watched = divided(min(arguments.replicates, MOST_WATCHED), arguments.seeds)
            missed_RE2 = np.concatenate(each(partial(watch, widths), watched))
    summaries = summarise_all(results, arguments.seeds)
    print_studies(summaries)
    print_reviews(summaries, results)
    print_looks(missed_RE2)
    figures = figures_of(summaries, results, missed_RE2)
    print_targets(figures)
    rounded = {name: round(figure.value, 4) for name, figure in figures.items()}
    rounded |= {"replicates": arguments.replicates, "seeds": arguments.seeds}
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


def audit(study: int, chunk: Chunk) -> Results:
    population = population_of(chunk.population)
    rng = np.random.default_rng([study, chunk.population, chunk.number])
    outcomes = [STUDIES[study].once(population, rng) for _ in range(chunk.replicates)]

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
    population = population_of(chunk.population)
    rng = np.random.default_rng([len(STUDIES), chunk.population, chunk.number])
    missed_RE2 = [
        ever_missed(population, target_half_widths=half_widths, rng=rng)
        for _ in range(chunk.replicates)
    ]
    return np.stack(missed_RE2)


def expected_half_widths(results: Results) -> dict[Estimand, float]:
    """Fixed before the first look: they come from other audits than those that are watched."""
    half_E = (results.high_RE - results.low_RE).mean(0) / 2
    return dict(zip(Estimand, half_E.tolist(), strict=True))


def summarise_all(results: Mapping[Study, Results], seeds: Sequence[int]) -> Summaries:
    populations = [population_of(seed) for seed in seeds]
    uniforms = {n: uniform(populations, n=n) for n in {study.n for study in results}}
    return {
        (study, estimand): summarise(result, estimand, uniforms[study.n][estimand])
        for study, result in results.items()
        for estimand in Estimand
    }


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
    """+- are Monte Carlo standard errors; /uniform is a ratio of mean widths."""
    print(
        f"\n{'':31}{'covers, %':>14}{'bias':>9}{'bias/SE':>8}{'+-':>5}"
        f"{'width':>8}{'/uniform':>9}{'efficiency':>15}{'no point':>9}"
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
            f"{s.efficiency:8.2f} +- {s.efficiency_error:4.2f}{s.undefined:9}"
        )


def print_reviews(summaries: Summaries, results: Mapping[Study, Results]) -> None:
    print(f"\n{'':31}{'reviews/item':>14}{'recall bias':>13}{'FPR bias':>10}")
    for study in (ONE_REVIEW, OVERLAP):
        recall, fpr = (summaries[study, e].bias for e in (Estimand.RECALL, Estimand.FPR))
        reviews = results[study].reviews_per_item(study.n)
        print(f"{study.name:31}{reviews:14.2f}{recall:+13.4f}{fpr:+10.4f}")


def print_looks(missed_RE2: BoolArray) -> None:
    print(f"\n{len(missed_RE2)} audits, missed at one look of 19 or more")
    print(f"{'':31}{'one look':>14}{'monitor':>13}")
    for estimand, (fixed, watched) in zip(Estimand, 100 * missed_RE2.mean(0), strict=True):
        print(f"    {estimand.replace('_', ' '):27}{fixed:12.1f} %{watched:11.1f} %")


def print_targets(figures: Mapping[str, Figure]) -> None:
    print()
    for target in TARGETS:
        figure = figures[target.figure]
        error = "" if math.isnan(figure.error) else f"+- {figure.error:.4f}"
        verdict = "met" if target.is_met(figure) else "MISSED"
        print(
            f"{target.figure:28}{figure.value:9.4f} {error:10}"
            f" {target.relation:>2} {target.bound:<6} {verdict}"
        )
    print()


if __name__ == "__main__":
    main()
