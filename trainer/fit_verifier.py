"""Fits a verifier to people's labels: `python -m trainer fit-verifier LABELS --out DIR`.

The labels are the server's export (`GET runs/{id}/labels?format=jsonl`). What comes out is a folder
that is a verifier version, with what it is worth on prompts that it never saw.
"""

import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import ConfigError
from trainer.data import code_commit
from trainer.fitting.config import FitConfig
from trainer.fitting.labels import Example, Labels, LabelsError, read_labels
from trainer.fitting.split import Split, is_right, split_by_prompt
from trainer.verifiers.models.fitted import Manifest
from trainer.verifiers.models.learned import Learned

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from trainer.fitting.calibration import Temperature
    from trainer.fitting.evaluation import Evaluation, Judged
    from trainer.fitting.training import Epoch, Row
    from trainer.verifiers.models.local import LocalModel


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model, and how it came about. base_rate: share of right labels it was fitted to.

    too_long: rollouts of each side that were longer than the context.
    """

    config: FitConfig
    local: "LocalModel"
    epochs: "Sequence[Epoch]"
    temperature: "Temperature"
    threshold: float
    base_rate: float
    too_long: dict[str, int]


def fit_verifier(config: FitConfig, files: Sequence[Path], out: Path) -> None:
    """Fit, measure, and leave the verifier in `out`, whole or not at all.

    Raises ConfigError and LabelsError, before anything is trained, for what cannot work.
    """
    if out.exists():
        raise ConfigError(f"--out: {out} exists already; choose another folder")
    labels = read_labels(files, level=config.level)
    split = split_by_prompt(labels.examples, config)
    _say_labels(labels, split, config)
    _prepare_torch(config.threads)
    fit = _fit(config, split)
    judged = _judge(fit, split.held_out)
    evaluation = _evaluate(fit, judged)
    unfinished = out.with_name(f".{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _write(fit, labels, split, judged, evaluation, unfinished)
    unfinished.rename(out)
    _say_result(fit, evaluation, out)


def _prepare_torch(threads: int) -> None:
    """Must come before torch is imported: its threads busy-wait by default."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # It warns of a new head and of long texts, which are both meant.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(threads)


def _fit(config: FitConfig, split: Split) -> Fit:
    from trainer.fitting import training
    from trainer.fitting.models import start_from

    local = start_from(config, map(_text, split.train))
    model = local.model
    sides: dict[str, list[Row]] = {}
    too_long = {}
    for name, examples in (("train", split.train), ("dev", split.dev)):
        rows = [training.row_of(example, local, config) for example in examples]
        sides[name] = [row for row in rows if row is not None]
        too_long[name] = len(rows) - len(sides[name])
        _refuse_one_class(name, sides[name], too_long[name], local.context)
    _say(f"{sum(p.numel() for p in model.parameters()):,} weights, context {local.context} tokens")
    epochs = training.train(model, sides["train"], sides["dev"], config)
    temperature, threshold = _calibrate(model, sides["dev"], config)
    return Fit(
        config=config,
        local=local,
        epochs=epochs,
        temperature=temperature,
        threshold=config.threshold or threshold,
        base_rate=_share_right(sides["train"]),
        too_long=too_long,
    )


def _text(example: Example) -> str:
    parts = (example.item.problem, *example.item.references, example.item.response)
    return "\n\n".join(parts)


def _refuse_one_class(name: str, rows: "Sequence[Row]", too_long: int, context: int) -> None:
    if len({all(row.rights) for row in rows}) < 2:
        raise LabelsError(
            f"context: of the {name} prompts {too_long} rollouts are longer than {context}"
            " tokens; the others hold only one class"
        )


def _share_right(rows: "Sequence[Row]") -> float:
    right = sum(row.weight * sum(row.rights) for row in rows)
    return right / sum(row.weight * len(row.rights) for row in rows)


def _calibrate(
    model: "PreTrainedModel", rows: "Sequence[Row]", config: FitConfig
) -> "tuple[Temperature, float]":
    """The temperature, which the model's head then holds, and the best threshold with it."""
    import numpy as np

    from trainer.fitting import calibration, training

    log_odds = training.all_log_odds(model, rows, config)
    judged = [one[: len(row.rights)] for one, row in zip(log_odds, rows, strict=True)]
    right_L = np.array([right for row in rows for right in row.rights])
    weight_L = np.array([row.weight for row in rows for _ in row.rights])
    temperature = calibration.fit_temperature(np.concatenate(judged), right_L, weight_L)
    if not training.fold_temperature(model, temperature.value, rows[: config.batch_size], config):
        _say("the model has no linear head of two outputs: its probabilities stay as they are")
        temperature = dataclasses.replace(
            temperature, value=1.0, log_loss_with=temperature.log_loss_without
        )
    scores = [calibration.sigmoid(one / temperature.value) for one in log_odds]
    if config.level == "outcome":
        return temperature, calibration.outcome_threshold(np.concatenate(scores), right_L, weight_L)
    weight_I = np.array([row.weight for row in rows])
    earliest = [0 if all(row.rights) else len(row.rights) for row in rows]
    return temperature, calibration.step_threshold(scores, earliest, weight_I)


def _judge(fit: Fit, examples: Sequence[Example]) -> "list[Judged]":
    from trainer.fitting import training
    from trainer.fitting.calibration import sigmoid
    from trainer.fitting.evaluation import Judged

    rows = [training.row_of(example, fit.local, fit.config) for example in examples]
    short = [row for row in rows if row is not None]
    log_odds = iter(training.all_log_odds(fit.local.model, short, fit.config))
    return [
        Judged(example, None if row is None else sigmoid(next(log_odds)))
        for example, row in zip(examples, rows, strict=True)
    ]


def _evaluate(fit: Fit, judged: "Sequence[Judged]") -> "Evaluation":
    from trainer.fitting.evaluation import evaluate_outcomes, evaluate_steps

    evaluate = evaluate_outcomes if fit.config.level == "outcome" else evaluate_steps
    return evaluate(judged, threshold=fit.threshold, base_rate=fit.base_rate, seed=fit.config.seed)


def _write(
    fit: Fit,
    labels: Labels,
    split: Split,
    judged: "Sequence[Judged]",
    evaluation: "Evaluation",
    folder: Path,
) -> None:
    from trainer.fitting import report
    from trainer.fitting.evaluation import disagreements

    level = fit.config.level
    fit.local.model.save_pretrained(folder)
    fit.local.tokenizer.save_pretrained(folder)
    Manifest(level, fit.config.separator, fit.threshold).write(folder)
    # Apart: what lies beside the weights is part of the version.
    beside = folder / report.FOLDER
    beside.mkdir()
    report.write_json(beside / report.METRICS, _metrics(fit, labels, split, evaluation))
    report.write_json(beside / report.SPLIT, report.prompts_of(split))
    what = "answers" if level == "outcome" else "steps"
    report.draw_reliability(evaluation.reliability, beside / report.DIAGRAM, what=what)
    if level == "outcome":
        rows = disagreements(judged, threshold=fit.threshold)
        report.write_lines(beside / report.DISAGREEMENTS, rows)


def _metrics(fit: Fit, labels: Labels, split: Split, evaluation: "Evaluation") -> dict[str, Any]:
    sides = {"train": split.train, "dev": split.dev, "held_out": split.held_out}
    return {
        "config": fit.config.to_dict(),
        "commit": code_commit(),
        "labels": {name: _counts(side, fit.config) for name, side in sides.items()},
        "left_out": dict(labels.left_out),
        "too_long": fit.too_long,
        "epochs": [dataclasses.asdict(epoch) for epoch in fit.epochs],
        "temperature": dataclasses.asdict(fit.temperature),
        "threshold": fit.threshold,
        "base_rate": fit.base_rate,
        **dataclasses.asdict(evaluation),
    }


def _counts(examples: Sequence[Example], config: FitConfig) -> dict[str, int]:
    return {
        "prompts": len({example.prompt for example in examples}),
        "rollouts": len(examples),
        "right": sum(is_right(example, config.level) for example in examples),
    }


def _say_labels(labels: Labels, split: Split, config: FitConfig) -> None:
    for reason, count in labels.left_out.items():
        _say(f"left out: {count} {reason}")
    for name, side in (("train", split.train), ("dev", split.dev), ("held out", split.held_out)):
        counts = _counts(side, config)
        told = "{rollouts} rollouts of {prompts} prompts, {right} right".format(**counts)
        _say(f"{name:<9} {told}")


def _say_result(fit: Fit, evaluation: "Evaluation", out: Path) -> None:
    from trainer.fitting.report import lines

    without, with_ = fit.temperature.log_loss_without, fit.temperature.log_loss_with
    _say(
        f"temperature {fit.temperature.value:.2f}: log loss on the dev prompts"
        f" {without:.4f} -> {with_:.4f}"
    )
    _say(f"held-out prompts, threshold {fit.threshold:.3f}:")
    for line in lines(evaluation):
        _say(f"  {line}")
    if fit.config.level == "outcome":
        _say(f"learned@{Learned(str(out)).version}: build('learned', model='{out}')")
    else:
        separator = fit.config.separator
        told = "" if separator == "\n" else f", separator={separator!r}"
        _say(f"build('process', model='{out}', threshold={fit.threshold!r}{told})")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
