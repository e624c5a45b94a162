"""The files beside a fitted model: figures, diagram, disagreements, which prompts were held out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.fitting.evaluation import Evaluation
from trainer.fitting.figures import Bin, Figure
from trainer.fitting.split import Split

FOLDER = "report"
METRICS = "metrics.json"
DIAGRAM = "reliability.svg"
DISAGREEMENTS = "disagreements.jsonl"
SPLIT = "split.json"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def prompts_of(split: Split) -> dict[str, list[str]]:
    """The prompts of each side, by their ids."""
    sides = {"train": split.train, "dev": split.dev, "held_out": split.held_out}
    return {name: sorted({example.prompt_id for example in side}) for name, side in sides.items()}


def lines(evaluation: Evaluation) -> list[str]:
    """Each figure in a line, and each other verifier on the same answers."""
    told = [f"{name:<26}{figure_text(figure)}" for name, figure in evaluation.figures.items()]
    for name, other in evaluation.others.items():
        told.append(f"{name} on the same {other.n} answers:")
        for rate, figure in other.theirs.items():
            difference = figure_text(other.difference[rate], signed=True)
            told.append(f"  {rate:<24}{figure_text(figure)}; ours less theirs {difference}")
    return told


def figure_text(figure: Figure, *, signed: bool = False) -> str:
    if figure.point is None:
        return f"none ({figure.reason})"
    sign = "+" if signed else ""
    return f"{figure.point:{sign}.3f} [{figure.low:{sign}.3f}, {figure.high:{sign}.3f}]"


def draw_reliability(bins: Sequence[Bin], path: Path, *, what: str) -> None:
    """Predicted against observed shares, with intervals; below, how many items each bar has."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "reliability"
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(5, 6), sharex=True, height_ratios=(4, 1), layout="constrained"
    )
    above.plot([0, 1], [0, 1], color="#5f6368", linewidth=1, linestyle="--")
    for bin_ in bins:
        share = bin_.share
        if share.point is None or share.low is None or share.high is None:
            continue
        above.errorbar(
            bin_.mean_predicted,
            share.point,
            yerr=[[share.point - share.low], [share.high - share.point]],
            fmt="o",
            color="#0b6e4f",
            capsize=3,
        )
    below.bar(
        [(bin_.low + bin_.high) / 2 for bin_ in bins],
        [bin_.share.n for bin_ in bins],
        width=0.09,
        color="#5f6368",
    )
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel=f"share of {what} that are right")
    below.set(xlabel="predicted P(right)", ylabel=what)
    # Without the date, ids by the salt: the same fit draws the same file.
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
