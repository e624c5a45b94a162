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
# Of the international system, by symbol: upper and lower case are not the same there. Temperatures
# are left out, for `25^\circ` means that of `25^\circ\text{C}`.
_PREFIXES = {
    **{"": "", "k": "kilo", "M": "mega", "G": "giga", "m": "milli", "n": "nano"},
    **{"\N{GREEK SMALL LETTER MU}": "micro", "\N{MICRO SIGN}": "micro"},
}
_NAMES = {
    **{"J": "joule", "N": "newton", "W": "watt", "V": "volt", "A": "ampere", "Pa": "pascal"},
    **{"Hz": "hertz", "mol": "mole", "cal": "calorie", "eV": "electronvolt"},
}
_SYMBOLS = {
    prefix + symbol: word + name
    for prefix, word in _PREFIXES.items()
    for symbol, name in _NAMES.items()
}
_UNITS |= {name + plural: name for name in _SYMBOLS.values() for plural in ("", "s")}
# A letter alone is a unit only in upright type: `5 m` may be five times m.
_LETTERS = {"m": "m", "g": "g", "s": "s", "h": "h", "l": "l", "L": "l"}
# `\text{A}` is a choice rather than an ampere.
_LETTERS |= {symbol: name for symbol, name in _SYMBOLS.items() if symbol in set("JNWV")}
_HALF_OF_DAY = re.compile(r"\b([ap])\s?\.?\s?m\b\.?", re.IGNORECASE)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z\N{GREEK SMALL LETTER MU}\N{MICRO SIGN}]+")
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
    if len(word) == 1:
        return _LETTERS.get(word, "") if is_upright else ""
    return _SYMBOLS.get(word) or _UNITS.get(word.lower(), "")
