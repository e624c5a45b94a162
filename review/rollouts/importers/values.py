"""What stands in a column, as text, as messages, as a verdict. Columns hold what a stranger wrote.

A value that cannot be used raises ValueError, which says why.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from review.rollouts.importers.jsonl import decoded
from trainer.verifiers import Outcome

Message = dict[str, Any]

# As the API has them.
MOST_MESSAGES = 500
MOST_CALLS = 100
MOST_ARGUMENTS = 200_000
MOST_ROLE = 40
MOST_NAME = 200
# As Inspect and others write what stands for a number. An answer that was not given is wrong.
GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


def plain_text(text: str) -> str:
    """The text without what PostgreSQL cannot hold: NUL becomes U+FFFD, as the API has it."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("a lone surrogate, which is no character") from None
    return text


def text_of(value: object) -> str:
    """Any value as text; what is no text is written as JSON."""
    if isinstance(value, str):
        return plain_text(value)
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return plain_text(_json(value))
    return str(value)


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError("a value that cannot be written as text") from None


def content_of(value: object) -> str:
    """A message's content: a text, or a list of parts as chat APIs have them."""
    if isinstance(value, list):
        return plain_text("\n\n".join(filter(None, map(_part, value))))
    return text_of(value)


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if kind is None:
        return text_of(part)
    if kind == "reasoning":
        return f"<think>\n{text_of(part.get('reasoning'))}\n</think>"  # type: ignore[attr-defined]
    if kind in ("text", "input_text", "output_text"):
        return text_of(part.get("text"))  # type: ignore[attr-defined]
    return f"[{text_of(kind)}]"


def is_conversation(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) and "role" in message for message in value)
    )


def problem_of(value: object) -> str:
    """A prompt as a reviewer reads it: its one message, or all of them with their roles."""
    if not is_conversation(value):
        text = content_of(value)
    else:
        messages: Sequence[Mapping[str, Any]] = value  # type: ignore[assignment]
        contents = [content_of(message.get("content")) for message in messages]
        if len(contents) == 1:
            text = contents[0]
        else:
            roles = [text_of(message["role"])[:MOST_ROLE] for message in messages]
            parts = zip(roles, contents, strict=True)
            text = "\n\n".join(f"{role}: {content}" for role, content in parts)
    if not text.strip():
        raise ValueError("is empty")
    return text


def messages_of(value: object) -> list[Message]:
    """A completion as messages."""
    if is_conversation(value):
        if len(value) > MOST_MESSAGES:  # type: ignore[arg-type]
            raise ValueError(f"has more than {MOST_MESSAGES} messages")
        return [_message(message) for message in value]  # type: ignore[attr-defined]
    if isinstance(value, dict) and "role" in value:
        return [_message(value)]
    if value is None:
        raise ValueError("is missing")
    return [{"role": "assistant", "content": content_of(value)}]


def _message(value: Mapping[str, Any]) -> Message:
    role = text_of(value["role"])[:MOST_ROLE]
    if not role:
        raise ValueError("a message without a role")
    message: Message = {"role": role, "content": content_of(value.get("content"))}
    if name := value.get("name") or value.get("function"):
        message["name"] = text_of(name)[:MOST_NAME]
    if call_id := value.get("tool_call_id"):
        message["call_id"] = text_of(call_id)[:MOST_NAME]
    if calls := value.get("tool_calls"):
        message["tool_calls"] = [_tool_call(call) for call in _listed(calls)[:MOST_CALLS]]
    return message


def _tool_call(call: object) -> dict[str, str]:
    """OpenAI nests the name and the arguments under "function"; Inspect does not."""
    if not isinstance(call, dict):
        raise ValueError("a tool call that is no object")
    inner = call.get("function")
    named = inner if isinstance(inner, dict) else {"name": inner, **call}
    return {
        "name": text_of(named.get("name"))[:MOST_NAME] or "tool",
        "arguments": text_of(named.get("arguments"))[:MOST_ARGUMENTS],
        "id": text_of(call.get("id"))[:MOST_NAME],
    }


def references_of(value: object) -> tuple[str, ...]:
    """The reference answers: a text, a list of them, or such a list as JSON in a text.

    Anything else (a code task's tests) is one reference, written as JSON.
    """
    if isinstance(value, str) and value.startswith("["):
        value = _list_in(value) or value
    if value is None or value == "":
        return ()
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return tuple(text_of(one) for one in value)
    return (text_of(value),)


def _list_in(text: str) -> list[Any] | None:
    try:
        value = decoded(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    is_simple = isinstance(value, list) and all(isinstance(one, str | int | float) for one in value)
    return value if is_simple else None


def number_of(value: object) -> float | None:
    """A score as a number; None where the source could not tell (null, NaN)."""
    if value is None:
        return None
    if isinstance(value, str):
        value = _graded(value)
    if not isinstance(value, int | float):
        raise ValueError(f"is {_kind(value)}, no number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("is too large a number") from None
    if math.isinf(number):
        raise ValueError("is infinite")
    return None if math.isnan(number) else number


def _graded(text: str) -> object:
    text = text.strip()
    if not text:
        return math.nan
    if (grade := GRADES.get(text, GRADES.get(text.lower()))) is not None:
        return grade
    try:
        return float(text)
    except ValueError:
        return text


def verdict_of(value: object, *, threshold: float) -> tuple[Outcome, float | None]:
    """What a score says, and the score itself where it is a share."""
    number = number_of(value)
    if number is None:
        return Outcome.UNDECIDED, None
    score = number if 0.0 <= number <= 1.0 else None
    return (Outcome.PASS if number >= threshold else Outcome.FAIL), score


def whole_number(value: object, *, most: int) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value.strip()[:20])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"is {_kind(value)}, no whole number")
    if not 0 <= value <= most:
        raise ValueError(f"is not from 0 to {most:,}")
    return value


def truth_of(value: object) -> bool:
    """Whether a flag is set; a text says so by a stop reason, too."""
    if isinstance(value, str):
        return value.strip().lower() in {"true", "yes", "1", "length", "max_tokens", "truncated"}
    return bool(value)


def _kind(value: object) -> str:
    names = {str: "a text", list: "a list", dict: "an object", bool: "a truth value"}
    return names.get(type(value), f"a {type(value).__name__}")


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
