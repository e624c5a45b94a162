"""Units of measure in an answer: the same number of another unit is another answer."""

import re

from trainer.verifiers.math.beside import UPRIGHT

# The unit, and the singular of its spellings.
_SPELLINGS = {
    "mm": "mm millimeter millimetre",
    "cm": "cm centimeter centimetre",
    "km": "km kilometer kilometre",
    "m": "meter metre",
    "inch": "inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard",
    "mi": "mi mile",
    "mg": "mg milligram",
    "g": "gram",
    "kg": "kg kilogram kilo",
    "lb": "lb pound",
    "oz": "oz ounce",
    "ml": "ml milliliter millilitre",
    "l": "liter litre",
    "gal": "gal gallon",
    "s": "sec second",
    "min": "min minute",
    "h": "hr hour",
    "day": "day",
    "week": "week",
    "month": "month",
    "year": "yr year",
    "am": "am",
    "pm": "pm",
    "dollar": "dollar usd",
    "euro": "euro eur",
    "cent": "cent",
    "degree": "degree",
    "radian": "radian rad",
    "mi h": "mph",
    "km h": "kmh kph",
}
_UNITS = {
    spelling + plural: unit
    for unit, spellings in _SPELLINGS.items()
    for spelling in spellings.split()
    for plural in ("", "s")
}
# A letter alone is a unit only in upright type: `5 m` may be five times m.
_LETTERS = {"m": "m", "g": "g", "s": "s", "h": "h", "l": "l", "L": "l"}
_HALF_OF_DAY = re.compile(r"\b([ap])\s?\.?\s?m\b\.?", re.IGNORECASE)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]+")
_SQUARE = re.compile(r"\^\{?2\}?|\b(?:square|sq)\b")
_CUBE = re.compile(r"\^\{?3\}?|\b(?:cubic|cu)\b")


def units_in(text: str) -> tuple[str, ...]:
    r"""The known units of measure in an answer, in order, as (`cm`, `2`) for `\text{cm}^2`.

    Words that are no measure ("apples") are left out: the number answers for them.
    """
    plain = _HALF_OF_DAY.sub(lambda match: f" {match[1].lower()}m ", text)
    upright = {letter for part in UPRIGHT.findall(plain) for letter in _WORD.findall(part)}
    words = _WORD.findall(UPRIGHT.sub(r" \1 ", plain))
    units = [_unit(word, is_upright=word in upright) for word in words]
    found = tuple(part for unit in units for part in unit.split())
    if found and _SQUARE.search(plain):
        return (*found, "2")
    return (*found, "3") if found and _CUBE.search(plain) else found


def _unit(word: str, *, is_upright: bool) -> str:
    return _UNITS.get(word.lower(), _LETTERS.get(word, "") if is_upright else "")
