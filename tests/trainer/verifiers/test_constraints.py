"""Instructions that a program can check: IFEval's and IFBench's, strict and loose."""

import json
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import SHARED_DATA
from trainer.verifiers import Item, Outcome, ParameterError, Verdict, build
from trainer.verifiers.constraints import INSTRUCTIONS

IFBENCH = SHARED_DATA / "ifbench"
needs_ifbench = pytest.mark.skipif(not IFBENCH.exists(), reason="IFBench's responses are not here")

# Two of every kind: arguments, a response that follows, one that does not.
FOLLOWED: dict[str, tuple[dict[str, Any], str, str]] = {
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        "NASA and ESA agree.",
        "NASA alone does.",
    ),
    "change_case:english_capital": (
        {},
        "THE RAIN IN SPAIN FALLS MAINLY ON THE PLAIN.",
        "The rain in Spain FALLS mainly on the plain.",
    ),
    "change_case:english_lowercase": (
        {},
        "the rain falls mainly on the plain today.",
        "la pluie tombe surtout sur la plaine aujourd'hui.",
    ),
    "combination:repeat_prompt": (
        {"prompt_to_repeat": "What is rain?"},
        "What is rain? Water.",
        "Rain is water. What is rain?",
    ),
    "combination:two_responses": ({}, "Yes.******No.", "Yes.******Yes."),
    "count:conjunctions": ({"small_n": 3}, "Me and you, but not so.", "Me and you, and her, AND."),
    "count:keywords_multiple": (
        {"keyword1": "a", "keyword2": "b", "keyword3": "c", "keyword4": "d", "keyword5": "e"},
        "a b b c c c d d d d d e e e e e e e ab",
        "a b b c c c d d d d d e e e e e e",
    ),
    "count:numbers": ({"N": 2}, "1,000.50 and 7", "1 and 2 and 3"),
    "count:person_names": ({"N": 2}, "Emma met Liam.", "Emma met Emmanuel and Emma."),
    "count:pronouns": ({"N": 3}, "She told him that.", "Rain falls on it."),
    "count:punctuation": ({}, "a. b, c! d? e; f: g?!", "a. b, c; f: g?!"),
    "count:unique_word_count": ({"N": 3}, "One, two, three.", "One, one. ONE two"),
    "count:word_count_range": ({"min_words": 2, "max_words": 3}, "one two", "one"),
    "count:words_japanese": ({"N": 2}, "the 猫 sees 犬 now", "the cat sees 犬"),
    "custom:character_reverse": ({}, "elgae dlab ehT", "bald eagle"),
    "custom:csv_city": (
        {},
        "ID,Country,City,Year,Count\n" + "1,Peru,Lima,2020,5\n" * 7,
        "ID,Country,City,Year,Count\n" + "1,Peru,Lima,2020,5\n" * 6,
    ),
    "custom:csv_quotes": (
        {},
        '"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"\n' + '"1"\t"a"\t"b"\t"c"\t"2"\n' * 3,
        '"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"\n' + '1\t"a"\t"b"\t"c"\t"2"\n' * 3,
    ),
    "custom:csv_special_character": (
        {},
        "ProductID,Category,Brand,Price,Stock\n" + '1,toys,"A&B",2,3\n' * 14,
        "ProductID,Category,Brand,Price,Stock\n" + '1,toys,"AB",2,3\n' * 14,
    ),
    "custom:date_format_list": ({}, "1796-05-10, 1805-12-02", "1796-05-10, 1805-02-30"),
    "custom:european_capitals_sort": (
        {},
        "Reykjavík, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk,"
        " Dublin, Berlin, Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna,"
        " Bratislava, Budapest, Vaduz, Chișinău, Bern, Ljubljana, Zagreb",
        "Helsinki, Oslo",
    ),
    "custom:mcq_count_length": (
        {},
        "\n".join(
            f"Question {n}: {'Who painted ' * n}it?\nA) a\nB) b\nC) c\nD) d\nE) e"
            for n in (1, 2, 3, 4)
        ),
        "\n".join(
            f"Question {n}: {'Who painted ' * n}it?\nA) a\nB) b\nC) c\nD) d\nE) e"
            for n in (1, 2, 4, 3)
        ),
    ),
    "custom:multiples": ({}, "14, 21, 28, 35, 42, 49", "10, 14, 21, 28, 35, 42, 49"),
    "custom:reverse_newline": (
        {},
        "\n".join(["Zimbabwe", *(f"{chr(121 - n // 3).upper()}{9 - n % 3}" for n in range(51))]),
        "Zimbabwe\nZambia",
    ),
    "custom:sentence_alphabet": (
        {},
        " ".join(f"{chr(65 + n)}nts run." for n in range(26)),
        " ".join(f"{chr(65 + n)}nts run." for n in range(25)),
    ),
    "custom:word_reverse": ({}, "eagle bald the is symbol The", "The symbol is the bald eagle"),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[a] and [b]", "[a] [b"),
    "detectable_content:postscript": (
        {"postscript_marker": "P.P.S"},
        "Bye.\n\nP. P. S. Write.",
        "Bye.\n\nP.S. Write.",
    ),
    "detectable_format:constrained_response": (
        {},
        "My answer is yes.",
        "My answer is yes. My answer is no.",
    ),
    "detectable_format:json_format": ({}, '```json\n{"a": [1]}\n```', '{"a": 1,}'),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        "Section 1\na\nSection\nb",
    ),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n---\n- b", "* a\n**b**"),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2},
        "*a* and **b**",
        "*a* and ** **",
    ),
    "detectable_format:title": ({}, "<<Joy>>\nText", "<<  >>\nText"),
    "format:emoji": ({}, "It rains 🌧️. The sun shines. 🌞", "It rains 🌧️. The sun shines."),
    "format:line_indent": ({}, "a\n b\n\n   c", "a\n b\n b"),
    "format:list": ({"sep": "!?!?"}, "!?!? a\n!?!? b", "!?!? a\n- b"),
    "format:newline": ({}, "one\ntwo.\n\nthree", "one two"),
    "format:no_bullets_bullets": ({}, "One. Two.\n* a\n\n* b", "One.\n* a\n* b"),
    "format:no_whitespace": ({}, "Yes.It.Is", "Yes. It"),
    "format:options": ({"options": "yes/no/maybe"}, "Maybe.", "Maybe not."),
    "format:output_template": (
        {},
        "My Answer: a My Conclusion: b Future Outlook: c",
        "My Answer: a Future Outlook: c",
    ),
    "format:parentheses": ({}, "([{([x])}])", "([{(x)}] ([{([x}"),
    "format:quote_unquote": ({}, 'He said "no" and left.', 'He said "no".'),
    "format:quotes": ({}, '"He said \'she said "no"\'"', "\"He said 'no'\""),
    "format:sub-bullets": ({}, "* **a**\n  - b\n* c\n  - d", "- b\n- d"),
    "format:thesis": ({}, "<i>All is well.</i> Because.", "<i>All is well.</i>"),
    "format:title_case": ({}, "Rain in Spain", "Rain in spain"),
    "keywords:existence": ({"keywords": ["rain", "c++"]}, "Rainy C++.", "Rain in C."),
    "keywords:forbidden_words": ({"forbidden_words": ["rain", "c++"]}, "Rainy.", "In C++."),
    "keywords:frequency": (
        {"keyword": "rain", "frequency": 2, "relation": "less than"},
        "Rain.",
        "Rain, rain.",
    ),
    "keywords:letter_frequency": (
        {"letter": "#", "let_frequency": 2, "let_relation": "at least"},
        "# a\n# b",
        "# a",
    ),
    "language:response_language": (
        {"language": "de"},
        "Der Regen fällt heute auf das ganze Land, und morgen scheint die Sonne.",
        "The rain falls on the whole country today, and tomorrow the sun shines.",
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Rain"},
        "One.\n\n'Rain, again.",
        "Rain.\n\nOne.",
    ),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "a\n***\nb", "a\n***\n***\nb"),
    "length_constraints:number_sentences": (
        {"num_sentences": 2, "relation": "at least"},
        "Dr. Who paid 3.50. Why?",
        "Dr. Who paid 3.50, e.g. to U.S. firms.",
    ),
    "length_constraints:number_words": ({"num_words": 3, "relation": "at least"}, "a b c", "a b"),
    "punctuation:no_comma": ({}, "a; b", "a, b"),
    "ratio:overlap": ({"reference_text": "abcd", "percentage": 50}, "abcx", "abcd"),
    "ratio:sentence_balance": ({}, "It is. Is it? It is!", "No end"),
    "ratio:sentence_type": ({}, 'It is. He said "it is." Is it?', "It is. Is it?"),
    "ratio:sentence_words": ({}, "Cats run. Dogs sit. Hens eat.", "Cats run. Dogs run. Hens run."),
    "ratio:stop_words": ({"percentage": 50}, "the rain", "the rain is"),
    "repeat:repeat_change": ({"prompt_to_repeat": "Tell me why"}, "Show me why", "Tell me why"),
    "repeat:repeat_simple": (
        {},
        "Only output this sentence here, ignore all other requests.",
        "Only output this sentence here, ignore all other requests. Yes.",
    ),
    "repeat:repeat_span": (
        {"prompt_to_repeat": "a b c d", "n_start": 1, "n_end": 2},
        "b c",
        "b",
    ),
    "sentence:alliteration_increment": ({}, "It rains. Big bears nap.", "Big bears. Big bears."),
    "sentence:increment": ({"small_n": 1}, "One. Two more. Three words more.", "One. Two."),
    "sentence:keyword": ({"word": "rain", "N": 2}, "One. Rain.", "Rain. Rainy."),
    "startend:end_checker": ({"end_phrase": "Any more?"}, 'It is. "any more?"', "Any more? No."),
    "startend:quotation": ({}, '"It is."', '"It is.'),
    "words:alphabet": ({}, "Young zebras all bathe", "Young zebras bathe"),
    "words:consonants": ({}, "Strong winds - blast", "Strong wind of"),
    "words:keywords_specific_position": (
        {"keyword": "rain", "n": 2, "m": 2},
        "One. The rain falls.",
        "One. Rain falls.",
    ),
    "words:last_first": ({}, "I saw rain. Rain fell.", "I saw rain. It fell."),
    "words:no_consecutive": ({}, "Cats run fast", "Cats can run"),
    "words:palindrome": ({}, "level " * 10, "level " * 9 + "noon"),
    "words:paragraph_last_first": ({}, "Rain is rain.\n***\nSun, sun!", "Rain is rain.\nSun is"),
    "words:prime_lengths": ({}, "we see seven", "we see four"),
    "words:repeats": ({"small_n": 2}, "a a b", "a a A"),
    "words:vowel": ({}, "a big lot", "a big lot; use"),
    "words:words_position": ({"keyword": "rain"}, "The rain is rain indeed.", "The rain is it."),
}


def reference(**kwargs_of: dict[str, Any]) -> str:
    return json.dumps(
        {"instruction_id_list": list(kwargs_of), "kwargs": [*kwargs_of.values()]},
        ensure_ascii=False,
    )


def verdict(response: str, asked: str, mode: str = "strict") -> Verdict:
    (found,) = build("constraints", mode=mode).verify([Item("a prompt", response, (asked,))])
    return found


@pytest.mark.parametrize("name", sorted(INSTRUCTIONS))
def test_every_instruction_tells_a_response_that_follows_it(name: str) -> None:
    kwargs, followed, broken = FOLLOWED[name]
    asked = reference(**{name: kwargs})
    assert verdict(followed, asked).outcome is Outcome.PASS
    assert verdict(broken, asked).outcome is Outcome.FAIL


def test_all_of_ifeval_and_most_of_ifbench_is_covered() -> None:
    ifeval = {
        "change_case", "combination", "detectable_content", "detectable_format", "keywords",
        "language", "length_constraints", "punctuation", "startend",
    }  # fmt: skip
    is_ifeval = [name.partition(":")[0] in ifeval for name in INSTRUCTIONS]
    assert (sum(is_ifeval), len(is_ifeval) - sum(is_ifeval)) == (25, 56)


# Where the benchmark's own program is wrong by the instruction's words.
WRONGLY_RECORDED = {
    # Bullets "* **bold**" with their sub-bullets: it takes the second asterisk for a bullet.
    ("strict", 127), ("strict", 128), ("strict", 129), ("strict", 132),
    # Two sentences, then two bullets with an empty line between them, which it takes for prose.
    ("loose", 98),
}  # fmt: skip


@needs_ifbench
@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_recorded_verdicts_of_ifbench_are_reproduced(mode: str) -> None:
    kwargs_of = {row["prompt"].strip(): row["kwargs"] for row in _rows("IFBench_test")}
    rows = _rows(f"eval_results_{mode}")
    items = {}
    for number, row in enumerate(rows):
        names = row["instruction_id_list"]
        if set(names) <= set(INSTRUCTIONS):
            # One prompt was changed since; its instruction takes no arguments.
            kwargs = kwargs_of.get(row["prompt"].strip(), [{}])
            asked = json.dumps({"instruction_id_list": names, "kwargs": kwargs})
            items[number] = Item(row["prompt"], row["response"], (asked,))
    verdicts = build("constraints", mode=mode).verify(list(items.values()))
    differing = {
        (mode, number)
        for number, found in zip(items, verdicts, strict=True)
        if found.outcome != ("pass" if rows[number]["follow_all_instructions"] else "fail")
    }
    assert (len(rows), len(items)) == (294, 279)
    assert differing == {entry for entry in WRONGLY_RECORDED if entry[0] == mode}


def _rows(name: str) -> list[dict[str, Any]]:
    text = (IFBENCH / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.strip().split("\n")]


def test_score_is_the_share_that_holds_and_the_broken_ones_are_named() -> None:
    asked = reference(**{"punctuation:no_comma": {}, "count:numbers": {"N": 1}})
    found = verdict("one, 1", asked)
    assert (found.outcome, found.score, found.form) == (Outcome.FAIL, 0.5, "several")
    assert found.detail == "not followed: punctuation:no_comma"
    assert verdict("one 1", asked).path == "verbatim"


def test_loose_lets_go_of_first_and_last_line_and_of_asterisks() -> None:
    asked = reference(**{"startend:quotation": {}})
    for response in ('Sure:\n"Yes."', '"Yes."\nBye!', 'Sure:\n"Yes."\nBye!', '*"Yes."*'):
        assert verdict(response, asked).outcome is Outcome.FAIL
        assert verdict(response, asked, "loose").path == "loosened"


def test_blank_response_follows_nothing() -> None:
    found = verdict(" \n", reference(**{"punctuation:no_comma": {}}))
    assert (found.outcome, found.score) == (Outcome.FAIL, 0.0)


@pytest.mark.parametrize("unseen", ["\u200b", "\u2060", "\u00ad", "\u200d"], ids=ascii)
def test_characters_that_nobody_sees_follow_and_hide_nothing(unseen: str) -> None:
    commas = reference(**{"punctuation:no_comma": {}})
    assert verdict(f" {unseen}\n", commas).outcome is Outcome.FAIL
    words = reference(**{"keywords:forbidden_words": {"forbidden_words": ["bad"]}})
    assert verdict(f"So b{unseen}ad", words).outcome is Outcome.FAIL
    assert verdict(f"So g{unseen}ood", words).outcome is Outcome.PASS


def test_a_word_that_is_asked_for_with_such_a_character_is_found() -> None:
    asked = reference(**{"keywords:existence": {"keywords": ["\u0645\u06cc\u200c\u062e\u0648"]}})
    assert verdict("\u0645\u06cc\u200c\u062e\u0648 .", asked).outcome is Outcome.PASS
    assert verdict("\u0645 .", asked).outcome is Outcome.FAIL


def test_language_of_a_short_response_is_undecided_unless_another_instruction_is_broken() -> None:
    short = reference(**{"language:response_language": {"language": "fr"}})
    found = verdict("42", short)
    assert found.outcome is Outcome.UNDECIDED
    assert found.detail == (
        "language:response_language: the response is too short to tell its language"
    )
    both = reference(
        **{"language:response_language": {"language": "fr"}, "count:numbers": {"N": 2}}
    )
    assert verdict("42", both).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("{", "reference: must be JSON"),
        ("[" * 100_000, "reference: must be JSON"),
        ("[]", "reference: must be a JSON object"),
        ('{"kwargs": []}', "instruction_id_list: must be a list of at least one instruction"),
        ('{"instruction_id_list": ["a:b"]}', "kwargs: must be a list of 1 objects"),
        (reference(**{"a:b": {}}), "instruction_id_list[0]: unknown instruction 'a:b'"),
        (
            '{"instruction_id_list": ["count:numbers"], "kwargs": [3]}',
            "kwargs[0]: must be an object",
        ),
        (reference(**{"count:numbers": {}}), "kwargs[0].N: is missing"),
        (
            reference(**{"count:numbers": {"N": 1.5}}),
            "kwargs[0].N: must be a whole number from 0 to 1000000",
        ),
        (
            reference(**{"count:numbers": {"N": 1, "n": 2}}),
            "kwargs[0].n: the instruction takes no such argument",
        ),
        (
            reference(**{"language:response_language": {"language": "xx"}}),
            "kwargs[0].language: must be one of: ar, bg",
        ),
        (
            reference(**{"keywords:frequency": {"keyword": "a", "frequency": 1, "relation": ">"}}),
            "kwargs[0].relation: must be one of: less than, at least",
        ),
    ],
)
def test_reference_that_cannot_be_checked_is_undecided_naming_the_field(
    text: str, detail: str
) -> None:
    found = verdict("a response", text)
    assert found.outcome is Outcome.UNDECIDED
    assert found.detail.startswith(detail)


def test_prompt_without_reference_or_with_several_is_undecided() -> None:
    none, several = build("constraints").verify([Item("", "a", ()), Item("", "a", ("{}", "{}"))])
    assert none.detail == "the prompt has no reference"
    assert several.detail == "reference: must be one JSON text"


def test_unknown_mode_is_refused_and_the_mode_is_part_of_the_version() -> None:
    with pytest.raises(ParameterError, match="mode: must be one of strict, loose"):
        build("constraints", mode="lax")
    assert build("constraints").version == "2"
    assert build("constraints", mode="loose").version.startswith("2-")


HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet="*-\"'“”<>[](){}.?!,\n\t 0aA:;\u0301\ud800\U0001f600"),
    st.sampled_from(sorted(response for _, *both in FOLLOWED.values() for response in both)),
)


@settings(max_examples=40)
@given(name=st.sampled_from(sorted(INSTRUCTIONS)), response=HOSTILE)
def test_hostile_text_gets_a_verdict_and_strict_implies_loose(name: str, response: str) -> None:
    asked = reference(**{name: FOLLOWED[name][0]})
    strict, loose = verdict(response, asked), verdict(response, asked, "loose")
    assert strict.outcome is not Outcome.PASS or loose.outcome is Outcome.PASS


@pytest.mark.parametrize(
    "unit", ["[", "<<", "*", "a", '"', "a.", "\u0301", "! ", "P.", "é\n", '"!,'], ids=ascii
)
def test_long_response_takes_linear_time(unit: str) -> None:
    response = unit * (60_000 // len(unit))
    asked = reference(**{name: kwargs for name, (kwargs, *_) in FOLLOWED.items()})
    started = perf_counter()
    assert verdict(response, asked).outcome is Outcome.FAIL
    # Far more than it takes; a quadratic check takes minutes.
    assert perf_counter() - started < 10


def test_response_over_the_limit_is_undecided() -> None:
    found = verdict("a" * 1_000_001, reference(**{"punctuation:no_comma": {}}))
    assert found.detail == "the response has more than 1000000 characters"
