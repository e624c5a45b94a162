"""What verdicts say of each criterion of a rubric, read from their records.

A record holds it as `trainer.verifiers.combined.rubric` writes it, in "criteria": a list of objects
with name and outcome. Records come from outside too: what is of another shape says nothing.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Func, JSONField, Value

from review.rollouts.models import Rollout
from review.verifiers.models import Outcome, Verdict, VerifierVersion
from review.verifiers.queries import lost_to

# Of a verifier with more, as where each prompt has criteria of its own, those judged most often.
MOST_CRITERIA, MOST_NAME = 32, 300
# A name of a rubric's criterion is no text of a rollout's; anything else might be.
HARMLESS_NAME = re.compile(r"[a-z0-9-]{1,24}")


@dataclass(frozen=True, slots=True)
class CriterionVerdicts:
    """A verifier's verdicts on criteria. by_rollout: outcome by name; None: it went with the
    rollout's texts, or they went before it came. share: of the rollouts that were asked for, how
    many it has judged or never can."""

    by_rollout: Mapping[int, Mapping[str, str] | None]
    names: tuple[str, ...]
    texts: Mapping[str, str]
    share: float

    def called(self, name: str) -> frozenset[str]:
        """How a reviewer may be asked for it: by its name, or in the words that a judge gets."""
        return frozenset({name, self.texts.get(name, name)})


def criterion_verdicts(
    verifier: VerifierVersion, rollout_ids: Collection[int]
) -> CriterionVerdicts:
    """What the verifier says of each criterion of these rollouts. No record is read as a whole."""
    rows = (
        Verdict.objects.filter(verifier=verifier, rollout__in=rollout_ids)
        .order_by("rollout")
        .annotate(names=_each("name"), outcomes=_each("outcome"))
        .values_list("rollout", "rollout__purged_at", "names", "outcomes")
    )
    by_rollout: dict[int, Mapping[str, str] | None] = {}
    seen: Counter[str] = Counter()
    for rollout, purged_at, names, outcomes in rows:
        said = _outcomes(names or [], outcomes or [])
        seen.update(said)
        by_rollout[rollout] = said if said or purged_at is None else None
    gone = lost_to(verifier, Rollout.objects.filter(pk__in=rollout_ids))
    by_rollout |= dict.fromkeys(gone.values_list("pk", flat=True))
    return CriterionVerdicts(
        by_rollout=by_rollout,
        names=tuple(name for name, _ in seen.most_common(MOST_CRITERIA)),
        texts=_texts(verifier),
        share=len(by_rollout) / max(len(rollout_ids), 1),
    )


def criteria_alone(record: Any) -> dict[str, Any] | None:
    """The record without any text: outcomes by name, which estimates go on resting on."""
    criteria = record.get("criteria") if isinstance(record, Mapping) else None
    if not isinstance(criteria, list):
        return None
    whole = [
        each for each in criteria if isinstance(each, Mapping) and {"name", "outcome"} <= {*each}
    ]
    said = _outcomes([each["name"] for each in whole], [each["outcome"] for each in whole])
    kept = [
        {"name": name, "outcome": outcome}
        for name, outcome in said.items()
        if HARMLESS_NAME.fullmatch(name)
    ]
    return {"criteria": kept} if kept else None


def _each(key: str) -> Func:
    """A member of each criterion that has both, in order: so that names and outcomes stay pairs."""
    path = Value(f"$.criteria[*] ? (exists (@.name) && exists (@.outcome)).{key}")
    return Func(
        F("record"),
        path,
        template="jsonb_path_query_array(%(expressions)s::jsonpath)",
        output_field=JSONField(),
    )


def _outcomes(names: Sequence[Any], outcomes: Sequence[Any]) -> dict[str, str]:
    """Outcome by name; a name that stands twice says nothing."""
    if len(names) != len(outcomes):
        return {}
    times = Counter(name for name in names if isinstance(name, str) and 1 <= len(name) <= MOST_NAME)
    return {
        name: outcome
        for name, outcome in zip(names, outcomes, strict=True)
        if isinstance(name, str) and times[name] == 1 and outcome in Outcome.values
    }


def _texts(verifier: VerifierVersion) -> dict[str, str]:
    """By name what a built-in rubric asks, as far as its parameters are known."""
    criteria = verifier.params.get("criteria") if isinstance(verifier.params, Mapping) else None
    return {
        entry["name"]: entry["text"]
        for entry in (criteria if isinstance(criteria, list) else [])
        if isinstance(entry, Mapping)
        if isinstance(entry.get("name"), str) and isinstance(entry.get("text"), str)
    }
