"""Normal forms of extracted answers, by name and version: equal forms, equal answers."""

import re
from collections.abc import Callable
from fractions import Fraction

from trainer.verifiers.short_answer import short_normal_form, squad_normal_form

# Longer texts are no numbers anyone wrote; they are left as they are.
_MAX_NUMBER_LENGTH = 200

_MINUS_SIGN = "\N{MINUS SIGN}"
_FRACTION = re.compile(r"([+-]?[0-9]+)\s*/\s*([0-9]+)")
_NUMBER = re.compile(r"([+-]?)([0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.([0-9]*))?")


class UnknownNormaliserError(ValueError):
    """No normaliser has this name."""


def number_normal_form(text: str) -> str:
    """A number's canonical text: 7.0, 007, +7 are "7"; 1,000 is "1000"; -0 is "0"; 4/6 is "2/3".

    Exact (no rounding, no arithmetic on the text). Powers, exponents, units and all else that is
    no plain number or fraction stay as the stripped text.
    """
    stripped = text.strip()
    number = stripped.replace(_MINUS_SIGN, "-")
    if len(number) > _MAX_NUMBER_LENGTH:
        return stripped
    if match := _FRACTION.fullmatch(number):
        return _fraction_text(*match.groups()) or stripped
    if (match := _NUMBER.fullmatch(number)) and any(map(str.isdigit, number)):
        return _decimal_text(*match.groups(default=""))
    return stripped


def _fraction_text(numerator: str, denominator: str) -> str | None:
    return str(Fraction(int(numerator), int(denominator))) if int(denominator) else None


def _decimal_text(sign: str, whole: str, part: str) -> str:
    whole = whole.replace(",", "").lstrip("0") or "0"
    part = part.rstrip("0")
    magnitude = f"{whole}.{part}" if part else whole
    return f"-{magnitude}" if sign == "-" and magnitude != "0" else magnitude


NORMALISERS: dict[str, Callable[[str], str]] = {
    "number-1": number_normal_form,
    "short-1": short_normal_form,
    "squad-1": squad_normal_form,
}


def normaliser_named(name: str) -> Callable[[str], str]:
    """The normal form of this name. Raises UnknownNormaliserError, naming the known ones."""
    if name not in NORMALISERS:
        known = ", ".join(sorted(NORMALISERS))
        raise UnknownNormaliserError(f"unknown normaliser {name!r}; known normalisers: {known}")
    return NORMALISERS[name]
