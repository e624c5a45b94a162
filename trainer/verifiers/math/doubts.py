"""Why an answer that was found may not be one that the response commits to.

A doubt holds a pass open; it never decides that an answer is wrong. The rules read what stands
directly beside the answer, because an honest solution denies and asks a lot on its way there.
"""

import re

DENIED = "the answer stands in a denial"
ASKED = "the answer stands in a question"
DISCLAIMED = "the response takes its answer back, or says that it has none"
IN_PASSING = "the number stands in passing"

# How far around the answer the words are that belong to it.
_REACH = 120

_NOT = (
    r"\b(?:not|never|neither|nor|none of|cannot|(?:is|was|ca)n['\u2019]?t|other than"
    r"|rather than|instead of|except(?: for)?|anything but|differ(?:s|ent) from|unlike|doubt"
    r"|(?<!not )(?:exclud(?:ed?|ing)|reject(?:ed|ing)?|discard(?:ed|ing)?|rul(?:ed?|ing) out)"
    r"|wrong|incorrect|false"
    # German, Dutch, Scandinavian; Romance; Slavic
    r"|nicht|niemals|nie|kein(?:e[mnrs]?|esfalls|eswegs)?|niet|geen|nooit|inte|ikke|aldrig"
    r"|pas|jamais|aucun|no|nunca|jamás|non|mai|não|не|нет|никак|ні|nigdy|není)\b"
    # Chinese
    r"|不[是为等会可]于?|并?非|没有"
)
# What may stand between a denial and the answer: words without a meaning of their own, signs.
_FILLING = (
    r"(?:[\s$*_=({\[\\]|\b(?:these|those)\s*:"
    r"|\b(?:be|been|is|was|would|it|equal|equals|to|the|a|an|this|that|simply|necessarily|certainly"
    r"|exactly|correct|right|really|actually|just|answer|value|number"
    r"|ist|sein|gleich|est|égale?|à|es|son|è|é|igual|del?|la|el|le|die|das|der)\b)*"
)
_DENIAL_BEFORE = re.compile(rf"(?:{_NOT}){_FILLING}\Z", re.IGNORECASE)
_CLOSERS = r"[\s$*_)}\]\\.,]*"
_DENIAL_AFTER = re.compile(
    # Japanese, Korean and Turkish deny behind.
    rf"{_CLOSERS}(?:では(?:ない|ありません)|[이가]?\s*아니|değil)"
    rf"|{_CLOSERS}(?:(?:which|this|that|it|but)\s+)*(?:is|was|seems|would be|must be|can|could)\s*"
    r"(?:(?:certainly|clearly|also|all)\s+)?"
    r"(?:wrong|incorrect|false|impossible|a mistake"
    r"|(?:not|n['\u2019]t|never)\s+(?:be\b|(?:the|my|our|it|right|correct|true|what|possible)\b))",
    re.IGNORECASE,
)
_QUESTION_AFTER = re.compile(r"[\s$*_)}\]\\.]{0,40}[?\uff1f]")

_RETRACTED = re.compile(
    r"\b(?:that|this|it|which)(?: is|['\u2019]s| was| must be| seems)(?: \w+)?"
    r" (?:wrong|incorrect|false)\b"
    r"|\b(?:scrap|ignore|disregard|forget) (?:that|this|it)\b",
    re.IGNORECASE,
)
_DISCLAIMED = re.compile(
    r"\bI (?:\w+ )?(?:(?:do|could|will|would) not|(?:do|ca|could|wo)n['\u2019]t|cannot|am unable to"
    r"|am not able to|refuse to) (?:\w+ )?"
    r"(?:know|say|tell|solve|answer|determine|decide|commit|choose)\b"
    r"|\bI (?:can )?(?:give|have|offer|commit to|choose) (?:no|none|neither)\b"
    r"|\b(?:no idea|not sure)\b",
    re.IGNORECASE,
)

# Nouns that number what they name.
_LABEL_BEFORE = re.compile(
    r"\b(?:page|exercise|problem|question|chapter|section|figure|table|example|step|line|item"
    r"|equation|theorem|lemma|option|case|part|version|no)s?\b[\s.#(*$\\]*\Z",
    re.IGNORECASE,
)
_MORE_BEHIND = re.compile(r"[.?!]\s+[^\W\d_]|\n\s*[^\W_]")
# How answers end in the format of Minerva (arXiv:2206.14858, appendix D.2).
_MINERVA_END = re.compile(r"\s*I hope it is correct\.?", re.IGNORECASE)
_UNSURE = re.compile(r"\b(?:perhaps|maybe|possibly|might be|could be|guess)\b", re.IGNORECASE)


def doubt_beside(before: str, after: str) -> str:
    """What the text around an answer says against it; "" = nothing."""
    near = before[-_REACH:]
    if _DENIAL_BEFORE.search(near) or _DENIAL_AFTER.match(after[:_REACH]):
        return DENIED
    if _QUESTION_AFTER.match(after[:_REACH]):
        return ASKED
    return DISCLAIMED if _RETRACTED.search(after) or _DISCLAIMED.search(after) else ""


def doubt_in_prose(before: str, after: str) -> str:
    """What is said against an answer that nothing marks: neither a box nor "the answer is"."""
    if doubt := doubt_beside(before, after):
        return doubt
    if _DISCLAIMED.search(before):
        return DISCLAIMED
    sentence = re.split(r"[.?!]\s|\n", before[-_REACH:])[-1]
    behind = _MINERVA_END.sub("", after)
    is_passing = (
        _LABEL_BEFORE.search(before[-_REACH:])
        or _MORE_BEHIND.search(behind)
        or _UNSURE.search(sentence)
    )
    return IN_PASSING if is_passing else ""
