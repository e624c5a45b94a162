"""What the demo's comparisons compare: their arms, and how labels are spent on those that are
calibrated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from trainer.config import TrainerConfig

# Of every arm: pass@8 at the ends, and nothing goes on without its table on a busy machine.
_MEASURED = ("run.eval_samples=8", "reward.wait_s=600")
CONSTANT = ("grpo.final_learning_rate_share=1.0",)
KL = ("objective.kl=0.04",)  # DeepSeekMath's weight, arXiv:2402.03300, sec. 4.2


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """How many rollouts of a run are labelled, when and by whom, and the rule of its tables.

    labels: of the whole run: warm_up of the steps before the first table, then `window` of every
        `window_steps` steps, each window in so many waves.
    n_reviewers: with three, what contradicts the verdict and every tenth label is reviewed again,
        and ties are broken; these reviews come on top of `labels`.
    error_rate: the share of each reviewer's answers that are the opposite of the rubric's.
    """

    labels: int
    warm_up: int
    window: int
    window_steps: int = 10
    waves: int = 4
    rule: str = "demote_or_abstain"
    n_reviewers: int = 1
    error_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """One training run of a comparison.

    reward: its source. settings: "section.key=value", instead of the recipe's. audit: of an arm
    whose reward comes from tables. ceiling: the arm on the true reward that is trained alike.
    """

    name: str
    label: str
    reward: str
    settings: tuple[str, ...] = ()
    audit: AuditPlan | None = None
    ceiling: str = "true"


@dataclass(frozen=True, slots=True)
class PlannedTable:
    """A window to audit, and the steps that its table is for."""

    first_step: int
    last_step: int
    valid_to_step: int


def planned_tables(audit: AuditPlan, config: TrainerConfig) -> list[PlannedTable]:
    """The warm-up's window, then windows as long as there are labels for them.

    The last table is valid to the end of the run.
    """
    end, first, last = config.grpo.steps, 1, config.reward.warm_up_steps
    n_more = (audit.labels - audit.warm_up) // audit.window
    plan: list[PlannedTable] = []
    while last < end and len(plan) <= n_more:
        is_final = len(plan) == n_more or last + audit.window_steps >= end
        plan.append(PlannedTable(first, last, end if is_final else last + audit.window_steps))
        first, last = last + 1, last + audit.window_steps
    return plan


_BUDGETS = {300: AuditPlan(300, warm_up=108, window=48), 1000: AuditPlan(1000, 360, 160)}
_RULES = {
    "calibrated": "demote_or_abstain",
    "posterior": "posterior",
    "unbiased": "unbiased",
}
_REVIEWERS = {"": (1, 0.0, ""), "-erring": (3, 0.04, ", 4 % errors, reviewed twice")}
_RATES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "": ((), ""),
    "-constant": (CONSTANT, ", constant rate"),
}


def _controls() -> Iterable[ArmPlan]:
    """The arms without labels."""
    for suffix, (settings, said) in _RATES.items():
        for name, label, reward, own in (
            ("raw", "raw verdict", "verdict", ()),
            ("raw-kl", "raw verdict + KL", "verdict", KL),
            ("true", "true reward (ceiling)", "true", ()),
            ("random", "random reward", "random", ()),
        ):
            yield ArmPlan(name + suffix, label + said, reward, (*_MEASURED, *settings, *own))


def _calibrated() -> Iterable[ArmPlan]:
    """Every rule with every number of labels, kind of reviewers and learning rate."""
    for name, n, by, rate in product(_RULES, _BUDGETS, _REVIEWERS, _RATES):
        (n_reviewers, error_rate, who), (settings, said) = _REVIEWERS[by], _RATES[rate]
        budget = _BUDGETS[n]
        audit = AuditPlan(
            labels=n,
            warm_up=budget.warm_up,
            window=budget.window,
            rule=_RULES[name],
            n_reviewers=n_reviewers,
            error_rate=error_rate,
        )
        label = f"{_RULES[name].replace('_', ' ')}, {n:,} labels{who}{said}"
        yield ArmPlan(
            f"{name}-{n}{by}{rate}", label, "table", (*_MEASURED, *settings), audit, f"true{rate}"
        )


ARMS: Mapping[str, ArmPlan] = {arm.name: arm for arm in (*_controls(), *_calibrated())}
# Calibrated arms come first: while they wait for labels the others have the machine.
COMPARISONS: Mapping[str, Sequence[str]] = {
    "loop": ("calibrated-300", "raw", "true"),
    "hack": ("calibrated-300", "raw", "true", "random"),
    "hack-full": tuple(sorted(ARMS, key=lambda name: ARMS[name].audit is None)),
}
