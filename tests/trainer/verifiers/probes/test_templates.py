import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.verifiers.probes.templates import (
    MAX_CHARACTERS,
    NAMES,
    MissingValueError,
    names_in,
    render,
)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (r"\boxed{{wrong}}", r"\boxed{44}"),
        (r"\boxed{\frac{{answer}}{2}}", r"\boxed{\frac{43}{2}}"),
        ("{answer} {nothing} {}", "43 {nothing} {}"),
        ("{answer|x3}", "434343"),
        ('{"la "|x2}{"{"|x2}', "la la {{"),
        ("{answer|struck}", "4\u03363\u0336"),
        ("{answer|base64}", "NDM="),
        ("{answer|spelled|x2}", "4 34 3"),
    ],
)
def test_a_template_is_filled(template: str, text: str) -> None:
    assert render(template, {"answer": "43", "wrong": "44"}) == text


def test_a_value_is_not_a_template() -> None:
    assert render("{wrong}", {"wrong": "{answer}", "answer": "43"}) == "{answer}"


def test_a_value_that_is_missing_is_named() -> None:
    with pytest.raises(MissingValueError, match="wrong"):
        render("{answer} {wrong}", {"answer": "43"})


def test_wide_letters_fold_back_and_tags_are_invisible() -> None:
    wide, tags = render("{answer|fullwidth}", {"answer": "a 4"}), render('{"a4"|tags}', {})
    assert unicodedata.normalize("NFKC", wide) == "a 4" != wide
    assert [unicodedata.category(character) for character in tags] == ["Cf", "Cf"]


@pytest.mark.parametrize(
    "template", ['{"ab"|x999999|x999999|x999999}', "{answer|x999999}" * 1000, "a" * 2_000_000]
)
def test_no_template_makes_more_than_a_verifier_is_given(template: str) -> None:
    assert len(render(template, {"answer": "43"})) == MAX_CHARACTERS


@given(st.text())
def test_any_text_is_a_template(template: str) -> None:
    values = dict.fromkeys(NAMES, "v")
    assert names_in(template) <= NAMES
    assert isinstance(render(template, values), str)
