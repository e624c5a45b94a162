"""What the database can hold of texts and JSON from outside."""

from collections.abc import Iterable
from math import isfinite
from typing import Any


def storable(text: str) -> str:
    """The text without NUL, with a question mark for each half of a character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def storable_json(value: Any) -> Any:
    """The same for every text in a JSON value; null for what is no number."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable_json(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def is_deeper_than(levels: int, value: object) -> bool:
    """Python's JSON writer and PostgreSQL's reader recurse: neither may run out of stack."""
    layer = [value]
    for _ in range(levels):
        layer = [child for parent in layer for child in _children(parent)]
        if not layer:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()
