"""Rewards for rollouts that a trainer asks about: the run's own verifiers and published table.

Nothing is stored. Judged while the caller waits, so only by verifiers that are quick and bounded.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic

from review.calibration.errors import NoRewardTableError, UnusableTableError
from review.calibration.queries import published_table
from review.core.errors import InvalidError
from review.runs.models import Run
from review.verifiers.built_in import quick_verifier
from review.verifiers.queries import correctness_verifiers_of
from trainer.rewards import GroupRollout, RewardTable, Scored, TableError, score_group
from trainer.verifiers import Item, Verdict, Verifier, undecided

# One call judges so long; what is left is undecided, and says so. The time is looked at after
# every chunk, of which each item may take a verifier's whole timeout.
SECONDS = 20.0
CHUNK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRollout:
    """A rollout to score. response: None = nobody can tell which part of the text it is.

    group: rollouts of the same group are of the same prompt, and seen together.
    """

    problem: str
    response: str | None
    references: tuple[str, ...]
    domain: str
    prompt: str | None = None
    group: str | None = None
    truncated: bool = False
    probe: bool = False


def rewards_of(*, run: Run, asked: Sequence[AskedRollout]) -> list[tuple[Scored, Verdict]]:
    """Each rollout's reward and the primary verifier's verdict, in order.

    Raises NotWhileWaitingError, UnusableTableError and InvalidError (a group of several prompts).
    """
    groups = _groups(asked)
    verifiers = [quick_verifier(version) for version in correctness_verifiers_of(run)]
    table = _table(run)
    verdicts = _judged(verifiers, asked)
    scored: dict[int, Scored] = {}
    for members in groups:
        first = asked[members[0]]
        rewards = score_group(
            [GroupRollout(verdicts[i], asked[i].truncated, asked[i].probe) for i in members],
            # Of the table where there is one: its settled answers are in that form.
            normaliser=run.normaliser if table is None else table.normaliser,
            domain=first.domain,
            prompt=first.prompt,
            table=table,
        )
        scored.update(zip(members, rewards, strict=True))
    return [(scored[i], verdicts[i][0]) for i in range(len(asked))]


def _groups(asked: Sequence[AskedRollout]) -> list[list[int]]:
    """Places of rollouts that are seen together; one without a group is alone."""
    groups: dict[object, list[int]] = defaultdict(list)
    for place, rollout in enumerate(asked):
        groups[place if rollout.group is None else rollout.group].append(place)
    for members in groups.values():
        about = {
            (asked[i].problem, asked[i].references, asked[i].domain, asked[i].prompt)
            for i in members
        }
        if len(about) > 1:
            rule = "its group has a rollout of another prompt"
            raise InvalidError(fields={f"rollouts[{members[0]}].group": rule})
    return list(groups.values())


def _table(run: Run) -> RewardTable | None:
    try:
        return _read(published_table(run).body)
    except NoRewardTableError:
        return None
    except TableError as error:
        raise UnusableTableError(fields={"table": str(error)}) from None


@lru_cache(maxsize=8)
def _read(body: str) -> RewardTable:
    return RewardTable.from_json(body)


def _judged(
    verifiers: Sequence[Verifier], asked: Sequence[AskedRollout]
) -> list[tuple[Verdict, ...]]:
    """What each verifier says of each rollout."""
    until = monotonic() + SECONDS
    said: dict[int, tuple[Verdict, ...]] = {}
    readable = [i for i, rollout in enumerate(asked) if rollout.response is not None]
    for first in range(0, len(readable), CHUNK):
        places = readable[first : first + CHUNK]
        if monotonic() > until:
            break
        items = [_item(asked[i]) for i in places]
        judged = zip(*(verifier.verify(items) for verifier in verifiers), strict=True)
        said.update(zip(places, judged, strict=True))
    return [said.get(i) or _not_judged(rollout, len(verifiers)) for i, rollout in enumerate(asked)]


def _item(asked: AskedRollout) -> Item:
    return Item(problem=asked.problem, response=asked.response or "", references=asked.references)


def _not_judged(rollout: AskedRollout, judges: int) -> tuple[Verdict, ...]:
    if rollout.response is None:
        return (undecided("the query does not begin with its prompt"),) * judges
    return (undecided(f"the call's {SECONDS:g} s were over: send fewer rollouts"),) * judges
