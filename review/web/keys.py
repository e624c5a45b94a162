"""The keys of the labelling page: one table of actions, and what a person has made of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from review.labeling.models import Question, Queue


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a key does. Its name is data-action on the page's elements."""

    name: str
    says: Promise
    key: str
    # Further keys that stay as they are.
    also: str = ""
    # What a queue has to ask for it to mean anything.
    question: Question | None = None


# In the order in which they are listed.
ACTIONS = (
    Action("next_step", _("Next step"), "j", "↓"),
    Action("previous_step", _("Step before"), "k", "↑"),
    Action("mark_step", _("This step is the earliest wrong one"), "x", question=Question.STEP),
    Action("no_wrong_step", _("No wrong step"), "n", question=Question.STEP),
    Action("correct", _("Answer correct"), "c"),
    Action("incorrect", _("Answer incorrect"), "i"),
    Action("cannot_tell", _("Cannot tell"), "t"),
    Action("hack", _("Hack, on or off"), "h", question=Question.HACK),
    Action("hack_admitted", _("The reasoning admits the hack"), "a", question=Question.HACK),
    Action("hack_not_admitted", _("The reasoning does not admit it"), "d", question=Question.HACK),
    Action("format_kept", _("Format kept"), "f", question=Question.FORMAT),
    Action("format_broken", _("Format broken"), "b", question=Question.FORMAT),
    Action("supported", _("The reasoning supports the answer"), "v", question=Question.REASONING),
    Action("unsupported", _("The reasoning does not support it"), "w", question=Question.REASONING),
    Action("problem", _("The problem is broken, on or off"), "p", question=Question.PROBLEM),
    Action("unsure", _("Unsure"), "z", question=Question.CONFIDENCE),
    Action("fairly_sure", _("Fairly sure"), "e", question=Question.CONFIDENCE),
    Action("certain", _("Certain"), "y", question=Question.CONFIDENCE),
    Action("criterion", _("Next criterion"), "o"),
    Action("find", _("Find in the text; Esc leaves it"), "/"),
    Action("note", _("Write a note; Esc leaves it"), "m"),
    Action("commit", _("Commit and take the next"), "Enter"),
    Action("skip", _("Skip, with a reason"), "s"),
    Action("undo", _("Take the last label back"), "u"),
    Action("reveal", _("What the verifiers said of the last one"), "r"),
    Action("keys", _("This list"), "?"),
)
ACTION_NAMES = {action.name for action in ACTIONS}
DEFAULT_KEYS = {action.name: action.key for action in ACTIONS}

# Digits choose among kinds; quotes, brackets and the like are nobody's key.
PUNCTUATION = set("?,.;-+=#*/")


def is_key(action: str, key: object) -> bool:
    """Whether the key can stand for the action: one small letter or a mark of a short list."""
    if not isinstance(key, str):
        return False
    if key == "Enter":
        return action == "commit"
    return len(key) == 1 and (key in PUNCTUATION or (key.isalpha() and key == key.lower()))


def doubled_keys(keys: Mapping[str, str]) -> set[str]:
    return {key for key, uses in Counter(keys.values()).items() if uses > 1}


def keys_of(stored: object) -> dict[str, str]:
    """The key of each action. What is stored is taken for hostile: only valid keys are used."""
    own = stored if isinstance(stored, dict) else {}
    keys = DEFAULT_KEYS | {
        name: key for name, key in own.items() if name in ACTION_NAMES and is_key(name, key)
    }
    return DEFAULT_KEYS if doubled_keys(keys) else keys


def actions_of(queue: Queue) -> list[Action]:
    """Those that mean something where the queue asks what it asks, in their order."""
    return [
        action
        for action in ACTIONS
        if (action.question is None or action.question in queue.questions)
        and (action.name != "criterion" or queue.rubric)
        and (action.name != "reveal" or queue.reveals)
    ]


# What belongs to serving items, not to judging one.
OF_THE_QUEUE = {"skip", "undo", "reveal"}


def judging_actions(queue: Queue) -> list[Action]:
    """Those of a page on which one rollout is judged outside of the queue's order."""
    return [action for action in actions_of(queue) if action.name not in OF_THE_QUEUE]


PRACTISED = {
    *("next_step", "previous_step", "correct", "incorrect", "cannot_tell", "hack"),
    *("find", "commit", "keys"),
}


def practice_actions(queue: Queue) -> list[Action]:
    """Those of a practice item, of which less is asked."""
    return [action for action in actions_of(queue) if action.name in PRACTISED]
