"""Attacks: templates of answers that a sound verifier does not pass, and honest controls."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trainer.verifiers.probes.errors import ProbeError
from trainer.verifiers.probes.prompts import KINDS, PROMPT_KINDS, Prompt, prompt_of
from trainer.verifiers.probes.rows import Row, rows_of_file, rows_of_text
from trainer.verifiers.probes.templates import names_in

CONTROL = "control"
MUST = ("not-pass", "pass")

_CATALOGUE = Path(__file__).with_name("catalogue")
_MAX_FAMILY_LENGTH = 24  # a family is the path of the detector's verdict
_FIELDS = ("id", "family", "kinds", "targets", "source", "template", "must", "prompts")


@dataclass(frozen=True, slots=True)
class Attack:
    """A way to be accepted without being right, as a template over a prompt (`templates`).

    id: for good. kinds: the kinds of verifier that it is meant for (`KINDS`). targets: the
    property of a verifier that it attacks, in words. source: a paper, an issue, "house".
    must: what a sound verifier says, "not-pass" or, for an honest control, "pass".
    prompts: its own; none = it is made over every prompt of its kinds that has the values.
    """

    id: str
    family: str
    kinds: tuple[str, ...]
    targets: str
    source: str
    template: str
    must: str = "not-pass"
    prompts: tuple[Prompt, ...] = ()

    @property
    def is_control(self) -> bool:
        """Whether it is an honest right answer, which a sound verifier passes."""
        return self.must == "pass"

    @property
    def names(self) -> frozenset[str]:
        """The values that its template asks of a prompt."""
        return names_in(self.template)


@cache
def built_in_attacks() -> tuple[Attack, ...]:
    """The catalogue, controls included, in the order of its files."""
    attacks: list[Attack] = []
    for path in sorted(_CATALOGUE.glob("*.toml")):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        shared = {
            name: data[name] for name in ("family", "kinds", "source", "must") if name in data
        }
        attacks += (
            attack_of(Row(shared | fields, f"{path.name}, {fields['id']}"))
            for fields in data.get("attack", ())
        )
    return with_attacks((), attacks)


def known_families() -> tuple[str, ...]:
    """The families of the built-in attacks, sorted, that of the controls left out."""
    return tuple(sorted({attack.family for attack in built_in_attacks()} - {CONTROL}))


def read_attacks(path: Path) -> tuple[Attack, ...]:
    """The attacks of a file of JSON lines. Raises ProbeError with file, line and rule."""
    return with_attacks((), (attack_of(row) for row in rows_of_file(path)))


def parse_attacks(text: str, *, name: str = "attacks") -> tuple[Attack, ...]:
    """The attacks of JSON lines, such as promoted ones. Raises ProbeError; none is kept then."""
    return with_attacks((), (attack_of(row) for row in rows_of_text(text, name=name)))


def with_attacks(attacks: Sequence[Attack], more: Iterable[Attack]) -> tuple[Attack, ...]:
    """All of them. Raises ProbeError for an id that is taken."""
    together = (*attacks, *more)
    taken: set[str] = set()
    for attack in together:
        if attack.id in taken:
            raise ProbeError(f"id: {attack.id!r} is taken by another attack")
        taken.add(attack.id)
    return together


def attack_from_json(fields: Mapping[str, Any]) -> Attack:
    """The attack of a form or a stored row (`attack_to_json`). Raises ProbeError with the field."""
    return attack_of(Row(fields, "attack"))


def attack_to_json(attack: Attack) -> dict[str, Any]:
    """What `attack_from_json`, and a line of an attacks file, take."""
    fields = {name: getattr(attack, name) for name in _FIELDS if name != "prompts"}
    prompts = [
        {
            "id": prompt.id,
            "kind": prompt.kind,
            "problem": prompt.problem,
            "references": list(prompt.references),
            "answer": prompt.answer,
            "wrong": list(prompt.wrong),
            "restated": prompt.restated,
        }
        for prompt in attack.prompts
    ]
    return {**fields, "kinds": list(attack.kinds), "prompts": prompts}


def attack_of(row: Row) -> Attack:
    """The attack that a row describes. Raises ProbeError with the row's place and the field."""
    row.refuse_unknown(*_FIELDS)
    kinds = row.texts("kinds")
    if not kinds or not set(kinds) <= set(KINDS):
        raise row.error("kinds", f"must be one or more of {', '.join(KINDS)}")
    family = row.token("family")
    if len(family) > _MAX_FAMILY_LENGTH or not set(family).isdisjoint("._"):
        raise row.error("family", f"must be of a-z, 0-9 and '-', at most {_MAX_FAMILY_LENGTH}")
    must = row.text("must", default="not-pass")
    if must not in MUST:
        raise row.error("must", f"must be one of {', '.join(MUST)}")
    targets, source = row.text("targets"), row.text("source")
    if not targets.strip():
        raise row.error("targets", "must say which property of a verifier is attacked")
    prompt_kind = next((kind for kind in kinds if kind in PROMPT_KINDS), "judge")
    attack = Attack(
        id=row.token("id"),
        family=family,
        kinds=kinds,
        targets=targets,
        source=source,
        template=row.text("template"),
        must=must,
        prompts=tuple(
            prompt_of(one, kind=prompt_kind, is_wrong_needed=False) for one in row.rows("prompts")
        ),
    )
    for prompt in attack.prompts:
        if missing := sorted(attack.names - prompt.values().keys()):
            raise row.error("template", f"its prompt gives no value for {{{missing[0]}}}")
    return attack
