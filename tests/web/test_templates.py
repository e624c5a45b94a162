import re
from pathlib import Path

import pytest
from django.template.loader import get_template

from review.web.keys import ACTION_NAMES, DEFAULT_KEYS, doubled_keys, is_key

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
NAMES = [path.relative_to(ROOT / "templates").as_posix() for path in TEMPLATES]

FORBIDDEN = {
    "an inline script": re.compile(r"<script(?![^>]*\ssrc=)[^>]*>", re.IGNORECASE),
    "an inline style sheet": re.compile(r"<style\b", re.IGNORECASE),
    "a style attribute": re.compile(r"\sstyle\s*=", re.IGNORECASE),
    "an event attribute": re.compile(r"\son[a-z]+\s*=", re.IGNORECASE),
    "a javascript: address": re.compile(r"javascript:", re.IGNORECASE),
    "an unescaped value": re.compile(r"\|\s*safe\b|safeseq|autoescape\s+off|mark_safe"),
    "htmx's inline handlers": re.compile(r"hx-on\b|hx-on:"),
    "htmx's evaluated values": re.compile(r"""hx-(vals|vars|headers)\s*=\s*['"]?\s*js:"""),
    "something from another origin": re.compile(r"""(src|href)\s*=\s*["'](https?:)?//"""),
}
HTMX_CONFIG = """<meta name="htmx-config" content='{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,
 "responseHandling":[{"code":"204","swap":false},{"code":"[23]..","swap":true},
 {"code":"422","swap":true},{"code":"[45]..","swap":false,"error":true}]}'>"""  # noqa: E501  # one attribute
PARTIAL = re.compile(r"\{% partialdef ([\w-]+) inline %\}")
POST_FORM = re.compile(r'<form\b[^>]*method="post".*?</form>', re.DOTALL)
# What a machine judged, and which policy wrote the text, stay off the pages of a blind label.
REVEALING = re.compile(
    r"\{[{%][^}]*\b(verdict|reward|advantage|policy|score|cell|run)\b", re.IGNORECASE
)


def test_there_are_templates_and_scripts() -> None:
    assert len(TEMPLATES) > 10
    assert SCRIPTS


@pytest.mark.parametrize("what", FORBIDDEN)
@pytest.mark.parametrize("name", NAMES)
def test_no_template_holds(name: str, what: str) -> None:
    found = FORBIDDEN[what].search((ROOT / "templates" / name).read_text(encoding="utf-8"))
    assert found is None, f"{name} holds {what}: {found and found[0]}"


@pytest.mark.parametrize("name", NAMES)
def test_every_template_compiles_and_says_its_context(name: str) -> None:
    get_template(name)
    head = (ROOT / "templates" / name).read_text(encoding="utf-8").partition("{%")[0]
    assert "{# context: " in head


@pytest.mark.parametrize("name", NAMES)
def test_every_part_can_be_rendered_alone_and_its_name_is_an_id(name: str) -> None:
    text = (ROOT / "templates" / name).read_text(encoding="utf-8")
    for part in PARTIAL.findall(text):
        get_template(f"{name}#{part}")
        assert f'id="{part}"' in text


@pytest.mark.parametrize("name", NAMES)
def test_every_post_form_carries_the_csrf_token(name: str) -> None:
    text = (ROOT / "templates" / name).read_text(encoding="utf-8")
    assert [form[:80] for form in POST_FORM.findall(text) if "{% csrf_token %}" not in form] == []


def test_htmx_is_configured_for_a_strict_policy() -> None:
    assert HTMX_CONFIG in (ROOT / "templates" / "base.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["web/label.html", "web/queue.html"])
def test_pages_of_a_blind_label_use_nothing_a_machine_judged(name: str) -> None:
    assert REVEALING.search((ROOT / "templates" / name).read_text(encoding="utf-8")) is None


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_evaluates_text_or_writes_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML", text)
    assert not re.search(r"document\.write|\.style\b|setTimeout\(['\"]", text)


def test_the_style_sheet_loads_nothing_from_elsewhere() -> None:
    text = (ROOT / "static" / "css" / "assay.css").read_text(encoding="utf-8")
    assert "@import" not in text
    assert "url(" not in text


def test_every_action_with_a_key_is_on_the_label_page_or_in_its_script() -> None:
    folder = ROOT / "templates" / "web"
    text = "".join(
        (folder / name).read_text(encoding="utf-8")
        for name in ("label.html", "_judgement.html", "_find.html")
    )
    form = (ROOT / "review" / "web" / "forms" / "labels.py").read_text(encoding="utf-8")
    script = (ROOT / "static" / "js" / "label.js").read_text(encoding="utf-8")
    on_page = set(re.findall(r'data-action="([a-z_]+)"', text))
    assert on_page <= ACTION_NAMES
    for name in ACTION_NAMES - on_page:
        assert f'"{name}"' in form or re.search(rf"^    {name}:", script, re.MULTILINE), name


def test_no_two_actions_have_the_same_first_key() -> None:
    assert doubled_keys(DEFAULT_KEYS) == set()
    assert all(is_key(name, key) for name, key in DEFAULT_KEYS.items())
