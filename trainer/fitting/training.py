"""Fitting a classifier to weighted labels, both classes weighing the same.

Each label weighs g times the inverse of its class's weighted share. So that the model still says
the probability in the audited population, its log-odds are shifted by the log-odds of the shares
inside the loss (logit adjustment, Menon et al., arXiv:2007.07314; here the weights balance).
"""

import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from trainer.config import ConfigError
from trainer.fitting.config import FitConfig
from trainer.fitting.labels import Example
from trainer.verifiers.models.fitted import outcome_tokens, step_tokens
from trainer.verifiers.models.learned import padded
from trainer.verifiers.models.local import LocalModel

# N = rows, S = tokens, L = labels of a batch (one a row, or one a judged step)

_POOL_BATCHES = 20  # batches' worth of rows that are sorted by length together


@dataclass(frozen=True, slots=True)
class Row:
    """A text as tokens, where its labels are (outcome level: its last token), and what they say;
    weight: of each label."""

    tokens: list[int]
    places: list[int]
    rights: list[bool]
    weight: float


@dataclass(frozen=True, slots=True)
class Balance:
    """What makes the classes weigh the same. prior: log-odds of right among the labels."""

    right: float
    wrong: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Balance":
        totals = [0.0, 0.0]
        for row in rows:
            for right in row.rights:
                totals[right] += row.weight
        n = sum(len(row.rights) for row in rows)
        # A label weighs 1 on the mean.
        return cls(right=n / (2 * totals[1]), wrong=n / (2 * totals[0]))

    @property
    def prior(self) -> float:
        return math.log(self.wrong / self.right)


def row_of(example: Example, local: LocalModel, config: FitConfig) -> Row | None:
    """None where the text is longer than the context."""
    if config.level == "outcome":
        tokens = outcome_tokens(local, example.item)
        if tokens is None:
            return None
        return Row(tokens, [len(tokens) - 1], [example.is_correct], example.weight)
    found = step_tokens(local, example.item, config.separator)
    if found is None:
        return None
    # Steps after the first wrong one have a place and no label.
    return Row(*found, list(example.step_labels()), example.weight)


@dataclass(frozen=True, slots=True)
class Epoch:
    """Mean losses over the labels, both classes weighing the same."""

    number: int
    train_loss: float
    dev_loss: float


def train(
    model: PreTrainedModel, train_rows: Sequence[Row], dev_rows: Sequence[Row], config: FitConfig
) -> list[Epoch]:
    """Fit the model in place; it is left as it was at the epoch of the lowest dev loss.

    Prints a line an epoch. Stops after `patience` epochs without a lower dev loss. Raises
    ConfigError where no dev loss is a number.
    """
    balance = Balance.of(train_rows)
    rng = random.Random(config.seed)  # noqa: S311 - no secret
    rate = config.learning_rate or (2e-5 if config.model else 5e-4)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    n_steps = config.epochs * math.ceil(len(train_rows) / config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _rate_at(n_steps, config))
    epochs: list[Epoch] = []
    best: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        for number in range(1, config.epochs + 1):
            train_loss = _one_epoch(model, train_rows, balance, optimiser, schedule, rng, config)
            dev_loss = _mean_loss(model, dev_rows, balance, config)
            if dev_loss < min((epoch.dev_loss for epoch in epochs), default=math.inf):
                best = {name: value.clone() for name, value in model.state_dict().items()}
            epochs.append(Epoch(number, train_loss, dev_loss))
            sys.stdout.write(
                f"epoch {number:>2}/{config.epochs}  loss {train_loss:.4f}  dev {dev_loss:.4f}\n"
            )
            sys.stdout.flush()
            lowest = min(epochs, key=lambda epoch: epoch.dev_loss)
            if number - lowest.number >= config.patience:
                break
    if not best:
        raise ConfigError("learning_rate: the loss on the dev prompts became no number; lower it")
    model.load_state_dict(best)
    model.eval()  # type: ignore[no-untyped-call]
    return epochs


def _rate_at(n_steps: int, config: FitConfig) -> Callable[[int], float]:
    """Linear warm-up, then a linear fall to nothing at the last step of the last epoch."""
    warm_up = max(1, round(config.warm_up_share * n_steps))
    return lambda step: min(1.0, (step + 1) / warm_up) * max(0.0, 1 - step / n_steps)


def _one_epoch(
    model: PreTrainedModel,
    rows: Sequence[Row],
    balance: Balance,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    rng: random.Random,
    config: FitConfig,
) -> float:
    model.train()
    total, n_labels = 0.0, 0
    for batch in _batches(rows, config.batch_size, rng):
        losses_L = _losses(model, batch, balance)
        loss = losses_L.mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimiser.step()
        schedule.step()
        total, n_labels = total + float(losses_L.detach().sum()), n_labels + len(losses_L)
    return total / n_labels


def _mean_loss(
    model: PreTrainedModel, rows: Sequence[Row], balance: Balance, config: FitConfig
) -> float:
    model.eval()  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        losses = [_losses(model, batch, balance) for batch in _in_turn(rows, config.batch_size)]
    return float(torch.cat(losses).mean())


def _batches(rows: Sequence[Row], size: int, rng: random.Random) -> Iterator[list[Row]]:
    """All rows once, in random order; rows of about the same length go together."""
    order = rng.sample(range(len(rows)), len(rows))
    for first in range(0, len(order), size * _POOL_BATCHES):
        pool = [rows[i] for i in order[first : first + size * _POOL_BATCHES]]
        pool.sort(key=lambda row: len(row.tokens))
        batches = list(_in_turn(pool, size))
        rng.shuffle(batches)
        yield from batches


def _in_turn(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    for first in range(0, len(rows), size):
        yield list(rows[first : first + size])


def _losses(model: PreTrainedModel, batch: Sequence[Row], balance: Balance) -> Tensor:
    """The loss of each label of the batch, weighted."""
    places = zip(log_odds_of(model, batch), batch, strict=True)
    log_odds_L = torch.cat([found[: len(row.rights)] for found, row in places])
    right_L = torch.tensor([right for row in batch for right in row.rights]).to(log_odds_L)
    weight_L = torch.tensor([row.weight for row in batch for _ in row.rights]).to(log_odds_L)
    balance_L = torch.where(right_L > 0, balance.right, balance.wrong)
    return functional.binary_cross_entropy_with_logits(
        log_odds_L - balance.prior, right_L, weight=weight_L * balance_L, reduction="none"
    )


def log_odds_of(model: PreTrainedModel, batch: Sequence[Row]) -> list[Tensor]:
    """Log-odds of right at each of the places of each row."""
    token_NS, mask_NS = padded([row.tokens for row in batch], model.config.pad_token_id or 0)
    output: Any = model(
        input_ids=token_NS.to(model.device), attention_mask=mask_NS.to(model.device)
    )
    log_odds = (output.logits[..., 1] - output.logits[..., 0]).float()
    if log_odds.dim() == 1:  # a sequence classifier picks its token itself
        return [one.unsqueeze(0) for one in log_odds]
    return [row_S[row.places] for row_S, row in zip(log_odds, batch, strict=True)]


def all_log_odds(
    model: PreTrainedModel, rows: Sequence[Row], config: FitConfig
) -> list[NDArray[np.float64]]:
    """`log_odds_of` all rows, in order."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].tokens))
    found: dict[int, NDArray[np.float64]] = {}
    with torch.inference_mode():
        for first in range(0, len(order), config.batch_size):
            places = order[first : first + config.batch_size]
            batch = log_odds_of(model, [rows[i] for i in places])
            found |= {i: row.double().cpu().numpy() for i, row in zip(places, batch, strict=True)}
    return [found[i] for i in range(len(rows))]


def fold_temperature(
    model: PreTrainedModel, temperature: float, rows: Sequence[Row], config: FitConfig
) -> bool:
    """Divide the head's weights, so that whoever loads the model gets calibrated probabilities.

    False, and nothing is changed, where the model has no such head: told by what it says of `rows`.
    """
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    heads = [module for module in linear if module.out_features == model.config.num_labels]
    if not heads:
        return False
    before = np.concatenate(all_log_odds(model, rows, config))
    _divide(heads[-1], temperature)
    after = np.concatenate(all_log_odds(model, rows, config))
    if np.allclose(after * temperature, before, rtol=1e-3, atol=1e-3):
        return True
    _divide(heads[-1], 1 / temperature)
    return False


def _divide(head: torch.nn.Linear, divisor: float) -> None:
    with torch.no_grad():
        for values in head.parameters():
            values.div_(divisor)
