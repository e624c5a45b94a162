"""IFBench's `custom` instructions: whole tasks, each with an answer of one shape."""

import csv
import re
import string
import unicodedata
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

from trainer.verifiers.constraints.base import Instruction
from trainer.verifiers.constraints.text import AROUND_WORDS, bare_words, lines, sentences, words

# European capitals north of 45 degrees, from north to south, as the benchmark has them.
_CAPITALS = words(
    "Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin"
    " Amsterdam Warsaw London Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz"
    " Chisinau Bern Ljubljana Zagreb"
)
_AFRICAN_COUNTRIES = 52  # at least; how many there are is disputed
_SEVENS = [str(number) for number in range(14, 51, 7)]
_QUESTION = re.compile(r"Question \d+[.|):;]?")
_OPTION = re.compile(r"[A-Ea-e][.|)]\s*\w")
_QUESTIONS, _OPTIONS = 4, 5
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_NAPOLEON = range(1769, 1822)  # the years that he lived in
_SPECIAL = re.compile(r"[^\w\s]")
_LONGEST_NAME = 200


def _eagle_reversed_by_word(response: str) -> bool:
    return "bald eagle" in " ".join(reversed(bare_words(response.lower())))


def _eagle_reversed_by_letter(response: str) -> bool:
    return "elgae dlab" in response.lower()


def _multiples_of_seven(response: str) -> bool:
    return re.findall(r"[0-9]+", response) == _SEVENS


def _questions_grow(response: str) -> bool:
    """Four questions with five options each, every one longer than the one before."""
    before, *questions = _QUESTION.split(response)
    if before.strip() or len(questions) != _QUESTIONS:
        return False
    cut = [_question(question) for question in questions]
    return all(options == _OPTIONS for _, options in cut) and all(
        first < second for (first, _), (second, _) in pairwise(cut)
    )


def _question(text: str) -> tuple[int, int]:
    """The question's length in characters, and how many options follow it."""
    found = [line.strip() for line in lines(text)]
    is_option = [_OPTION.match(line) is not None for line in found]
    end = is_option.index(True) if True in is_option else len(found)
    return len(" ".join(found[:end])), sum(is_option)


def _african_countries(response: str) -> bool:
    """From Zimbabwe backwards, one a line; lines before it are an introduction."""
    found = [_plain(line) for line in lines(response) if _plain(line)]
    start = next((i for i, line in enumerate(found) if "Zimbabwe" in line), len(found))
    listed = found[start:]
    return len(listed) >= _AFRICAN_COUNTRIES and listed == sorted(listed, reverse=True)


def _european_capitals(response: str) -> bool:
    listed = [_plain(part) for part in response.split(",")]
    return [city for city in listed if city] == _CAPITALS


def _plain(text: str) -> str:
    """A name without accents and without the punctuation around it."""
    # Cut: putting a long run of accents in order takes quadratic time.
    decomposed = unicodedata.normalize("NFKD", text.strip(AROUND_WORDS)[:_LONGEST_NAME])
    return decomposed.encode("ascii", "ignore").decode("ascii")


def _alphabetical_story(response: str) -> bool:
    found = [sentence.lstrip(AROUND_WORDS)[:1].lower() for sentence in sentences(response)]
    return found == list(string.ascii_lowercase)


def _napoleons_dates(response: str) -> bool:
    return all(_is_napoleons(part.strip()) for part in response.split(","))


def _is_napoleons(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None or int(match[1]) not in _NAPOLEON:
        return False
    try:
        date(*map(int, match.groups()))
    except ValueError:
        return False
    return True


def _city_table(response: str) -> bool:
    return _is_table(_rows(response), ["ID", "Country", "City", "Year", "Count"], rows=7)


def _product_table(response: str) -> bool:
    columns = ["ProductID", "Category", "Brand", "Price", "Stock"]
    quoted = [part for line in lines(response)[1:] for part in line.split('"')[1:-1:2]]
    return _is_table(_rows(response), columns, rows=14) and any(map(_SPECIAL.search, quoted))


def _student_table(response: str) -> bool:
    """Tabs between the fields, every field in quotes."""
    columns = ["StudentID", "Subject", "Grade", "Semester", "Score"]
    fields = [field for line in lines(response) for field in line.strip().split("\t")]
    return _is_table(_rows(response, "\t"), columns, rows=3) and all(
        len(field) > 1 and field[0] == field[-1] == '"' for field in map(str.strip, fields)
    )


def _rows(text: str, delimiter: str = ",") -> list[list[str]]:
    """The table's rows; none where the text is no table."""
    text_lines = text.removesuffix("\n").split("\n")
    try:
        table = csv.reader(text_lines, delimiter=delimiter, skipinitialspace=True)
        return [[field.strip() for field in row] for row in table]
    except csv.Error:
        return []


def _is_table(table: Sequence[Sequence[str]], columns: Sequence[str], *, rows: int) -> bool:
    return (
        len(table) == rows + 1
        and list(table[0]) == list(columns)
        and all(len(row) == len(columns) for row in table)
    )


INSTRUCTIONS = {
    "custom:character_reverse": Instruction(_eagle_reversed_by_letter),
    "custom:csv_city": Instruction(_city_table),
    "custom:csv_quotes": Instruction(_student_table),
    "custom:csv_special_character": Instruction(_product_table),
    "custom:date_format_list": Instruction(_napoleons_dates),
    "custom:european_capitals_sort": Instruction(_european_capitals),
    "custom:mcq_count_length": Instruction(_questions_grow),
    "custom:multiples": Instruction(_multiples_of_seven),
    "custom:reverse_newline": Instruction(_african_countries),
    "custom:sentence_alphabet": Instruction(_alphabetical_story),
    "custom:word_reverse": Instruction(_eagle_reversed_by_word),
}
