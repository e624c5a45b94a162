"""A rollout as its readers meet it: a conversation, steps numbered through, folded where long."""

import re
from html import unescape

import pytest
from django.template.loader import render_to_string

from review.accounts.models import Project
from review.flows import ingest
from review.flows.ingest import IncomingMessage, IncomingToolCall
from review.rollouts.models import Rollout
from review.runs.models import Run
from review.web.reading import (
    KEPT_STEPS,
    KEPT_TURNS,
    MOST_STEPS,
    MOST_TURNS,
    reading,
)
from tests import builders


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project)
    builders.make_prompt(run, text="What is **7 + 8**?")
    return run


def stored(run: Run, *messages: IncomingMessage) -> Rollout:
    ingest.store_batch(run=run, batch=[builders.make_rollout(messages=list(messages))])
    return run.rollouts.get()


def said(role: str, content: str, *calls: IncomingToolCall, **more: str) -> IncomingMessage:
    return IncomingMessage(role=role, content=content, tool_calls=calls, **more)


def page(rollout: Rollout, **context: object) -> str:
    text = render_to_string("web/_turns.html", {"reading": reading(rollout), **context})
    return re.sub(r"\s+", " ", text)


def folds(html: str) -> list[str]:
    return re.findall(r'id="(fold-[^"]+)" data-fold hidden="until-found"', html)


def test_a_single_turn_is_its_steps_and_no_more(run: Run) -> None:
    rollout = stored(run, said("assistant", "one\n\ntwo"))
    html = page(rollout)
    assert re.findall(r'data-step="(\d+)"', html) == ["1", "2"]
    assert "turn-role" not in html
    assert folds(html) == []
    assert "<strong>7 + 8</strong>" in reading(rollout)["problem"]


def test_a_conversation_names_who_speaks_and_numbers_through(run: Run) -> None:
    call = IncomingToolCall(
        name="python", arguments='{"code": "a = 7\\nprint(a)", "n": 1.10}', id="c1"
    )
    html = page(
        stored(
            run,
            said("system", "Be terse."),
            said("assistant", "one\n\ntwo", call),
            said("tool", "line 1\n  *line* 2", name="python", call_id="c1"),
            said("referee", "Go on."),
            said("assistant", "three"),
        )
    )
    roles = re.findall(r'class="turn turn-(\w+)"> <h3 class="turn-role">(\w+)', html)
    assert roles == [
        ("system", "System"),
        ("assistant", "Assistant"),
        ("tool", "Tool"),
        ("other", "referee"),
        ("assistant", "Assistant"),
    ]
    assert re.findall(r'data-step="(\d+)"', html) == ["1", "2", "3"]
    assert "answers call c1" in html
    # A tool's result is no Markdown; an argument keeps its line ends, a number its zero.
    assert "<pre><code>line 1 *line* 2</code></pre>" in html
    assert "a = 7 print(a)" in html
    assert "1.10" in html


@pytest.mark.parametrize(
    "arguments",
    ["not json", "[1, 2]", '{"a": "1", "a": "2"}', "[" * 100_000, '{"a": ' * 5_000, '"text"', "{"],
)
def test_arguments_that_are_no_plain_object_stand_as_they_were_written(
    run: Run, arguments: str
) -> None:
    call = IncomingToolCall(name="f", arguments=arguments)
    (turn,) = reading(stored(run, said("assistant", "x", call)))["turns"]
    ((name, html),) = turn["tool_calls"][0]["arguments"]
    assert name == ""
    assert unescape(re.sub(r"<[^>]+>", "", html)) == arguments


def test_the_middle_of_many_steps_is_folded_and_all_of_it_is_there(run: Run) -> None:
    total = MOST_STEPS + 10
    html = page(stored(run, said("assistant", "\n\n".join(f"s{n}" for n in range(1, total + 1)))))
    assert folds(html) == ["fold-0"]
    assert f"Show {total - sum(KEPT_STEPS)} hidden steps" in html
    assert re.findall(r'data-step="(\d+)"', html) == [str(n) for n in range(1, total + 1)]
    head, _, rest = html.partition('id="fold-0"')
    assert re.findall(r'data-step="(\d+)"', head)[-1] == str(KEPT_STEPS[0])
    inside = rest.partition('class="stretch"')[0]
    assert re.findall(r'data-step="(\d+)"', inside)[-1] == str(total - KEPT_STEPS[1])


def test_a_few_very_long_steps_are_folded_too(run: Run) -> None:
    html = page(stored(run, said("assistant", "\n\n".join(["word " * 1_500] * 9))))
    assert folds(html) == ["fold-0"]


def test_the_middle_of_many_turns_is_folded(run: Run) -> None:
    pairs = [said("user", "go on"), said("assistant", "a\n\nb")] * MOST_TURNS
    html = page(stored(run, *pairs))
    hidden = 2 * MOST_TURNS - sum(KEPT_TURNS)
    assert folds(html) == ["fold-turns"]
    assert f"Show {hidden} hidden turns" in html
    assert len(re.findall(r"data-step=", html)) == 2 * MOST_TURNS


def test_only_a_page_with_radios_has_labels_for_them(run: Run) -> None:
    rollout = stored(run, said("assistant", "one\n\ntwo"))
    assert "<label" not in page(rollout).replace(
        '<label class="visually-hidden" for="find-text"', ""
    )
    assert 'for="wrong-2"' in page(rollout, is_markable=True)
