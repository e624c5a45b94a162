"""`make bench-render`: does every real completion render, in time, with its formulas?

All completions of GSM8K, MATH and ProcessBench in ../shared/data, each as its page renders it: cut
into steps, every step rendered, nothing cached. A formula that cannot be rendered is shown as its
source: those are counted. Times are the processor's, since others may use the machine.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from review.rollouts.segmentation import segment
from review.web.rendering import render_uncached
from tests import SHARED_DATA

SETS = [
    ("GSM8K", "gsm8k/model_solutions.jsonl"),
    ("MATH", "qwen_math_cot100x8/rollouts.jsonl"),
    ("ProcessBench", "processbench/gsm8k.jsonl"),
]
MOST_P95_MS = 30
MOST_FALLBACKS = 0.01

FORMULA = re.compile(r'<span class="math(?:-display)?">')
SOURCE = re.compile(r'<code class="math-source">(.*?)</code>', re.DOTALL)
# What shows raw where the whole text could not be rendered.
PLAIN = '<div class="rollout-text" dir="auto"><pre>'

Steps = list[str]


@dataclass
class Measured:
    name: str
    ms: list[float] = field(default_factory=list)
    failures: int = 0
    formulas: int = 0
    sources: list[str] = field(default_factory=list)

    @property
    def fallback_share(self) -> float:
        return len(self.sources) / max(self.formulas, 1)

    def at(self, percent: float) -> float:
        return float(np.percentile(self.ms, percent))


def completions(path: Path) -> Iterator[Steps]:
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        if "steps" in row:
            yield row["steps"]
            continue
        for completion in row["completions"]:
            text = completion["text"]
            yield [text[start:end] for start, end in segment(text)]


def measure(name: str, path: Path) -> Measured:
    measured = Measured(name)
    for steps in completions(path):
        start = time.process_time()
        pages = [render_uncached(step) for step in steps]
        measured.ms.append((time.process_time() - start) * 1000)
        measured.failures += any(page.startswith(PLAIN) for page in pages)
        for page in pages:
            measured.formulas += len(FORMULA.findall(page))
            measured.sources += SOURCE.findall(page)
    return measured


def table(sets: Sequence[Measured]) -> str:
    head = f"{'':14}{'rendered':>9}{'failures':>9}{'p50 ms':>8}{'p95 ms':>8}{'max ms':>8}"
    lines = [f"{head}{'formulas':>10}{'as source':>10}{'share':>9}"]
    for part in sets:
        lines.append(
            f"{part.name:14}{len(part.ms):>9,}{part.failures:>9}{part.at(50):>8.2f}"
            f"{part.at(95):>8.2f}{part.at(100):>8.2f}{part.formulas:>10,}{len(part.sources):>10}"
            f"{part.fallback_share:>9.3%}"
        )
    return "\n".join(lines)


def together(sets: Sequence[Measured]) -> Measured:
    return Measured(
        name="all",
        ms=[ms for part in sets for ms in part.ms],
        failures=sum(part.failures for part in sets),
        formulas=sum(part.formulas for part in sets),
        sources=[source for part in sets for source in part.sources],
    )


def figures(everything: Measured) -> dict[str, float]:
    return {
        "rendered": len(everything.ms),
        "failures": everything.failures,
        "p50_ms": round(everything.at(50), 2),
        "p95_ms": round(everything.at(95), 2),
        "formula_fallback_share": round(everything.fallback_share, 5),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sources", type=int, default=5, help="so many unrendered formulas shown")
    arguments = parser.parse_args()
    if missing := [file for _, file in SETS if not (SHARED_DATA / file).exists()]:
        print(f"Nothing is measured: {', '.join(missing)} is not in {SHARED_DATA}.")
        return 0
    sets = [measure(name, SHARED_DATA / file) for name, file in SETS]
    everything = together(sets)
    print(table([*sets, everything]))
    for source, times in Counter(everything.sources).most_common(arguments.sources):
        print(f"  {times:>5} x {source[:150]!r}")
    held = figures(everything)
    print(json.dumps({"bench": "render", "figures": held}))
    is_met = (
        everything.failures == 0
        and held["p95_ms"] <= MOST_P95_MS
        and everything.fallback_share < MOST_FALLBACKS
    )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
