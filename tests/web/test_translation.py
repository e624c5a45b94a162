"""Every word that a page says goes through Django's translation.

A pretended language puts marks around all that is translated; what still stands outside of them
must be data: names of people, runs and audits, uids, problems and answers, keys of a program.
Text that stays English wherever it is shown says so by an element's `lang`.
"""

import ast
import gettext
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.translation import trans_real
from pytest_django.fixtures import Settings

from review.accounts.models import Project, Role, User
from review.calibration.services.scorecard import refresh_run
from review.core.errors import ReviewError
from review.flows import audit
from review.flows.probes import probe, start_probing
from review.rollouts.models import ImportState
from review.rollouts.services import create_slice
from review.runs.models import ErratumState, Run, RunStatus
from review.sampling.models import AuditRule, RuleState, WaveState, WindowState
from review.verifiers.built_in import register_built_in
from review.verifiers.models import Outcome, ProbeState, ReplayState, VerifierVersion
from review.web import words
from tests import ROOT, builders
from tests.calibration.test_scorecard import judge_all
from tests.e2e.scenes import draft_table, label_everything
from tests.web.rules import RULE, signed_in
from tests.web.test_every_route import RULES, World, make_world

OPENS, CLOSES = "⟦", "⟧"
DATA = re.compile(
    r"""\b(
    Assay | Arithmetic | arithmetic | demo | a\.jsonl | JSON | JSONL
    | (first|second)\ audit | a\ draft | sums | refused\ ones
    | ada | ben | dan | eve | Eve | test | reviewer | colleague | adjudicator | lead | admin
    | stranger | elsewhere | staff | trainer | slow | so | maybe | or
    | (run|rollout|project|step)-\d+ | step-0 | boxed-any@\d | boxed-any | boxed | integer
    | decimal | correctness | ingest | table | label | prompt | completion | exact-match(@\d)?
    )\b""",
    re.VERBOSE,
)
# A cell's key, which a program made.
KEY = re.compile(r"[\w/|+-]*(/|\|)[\w/|+-]*")
LETTERS = re.compile(r"[^\W\d_]{2,}")


class Marked(gettext.NullTranslations):
    """A language in which every message is itself between marks."""

    def gettext(self, message: str) -> str:
        # A message with a context comes with it in front.
        return f"{OPENS}{message.rpartition(trans_real.CONTEXT_SEPARATOR)[2]}{CLOSES}"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)

    def to_language(self) -> str:
        return "en-marked"


@pytest.fixture
def _marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(trans_real._translations, "en", Marked())
    with translation.override("en"):
        yield


class Unmarked(HTMLParser):
    """What a page says outside of the marks, which may lie in different elements."""

    # The title of a row of a reward table is the key of its cell.
    SAYS = ("aria-label", "title", "placeholder", "alt")
    # What is no language: keys of a keyboard, code, formulas.
    SILENT = ("script", "style", "code", "kbd", "math")
    VOID = ("input", "meta", "link", "br", "hr", "img")

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.silent: list[bool] = [False]
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in () if tag == "th" or self.silent[-1] else self.SAYS:
            self._read(given.get(name) or "", 0)
        if tag == "input" and given.get("type") in ("submit", "button"):
            self._read(given.get("value") or "", 0)
        if tag not in self.VOID:
            is_english = tag != "html" and "lang" in given
            self.silent.append(self.silent[-1] or tag in self.SILENT or is_english)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element that is closed at once, as in SVG."""

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            self.silent.pop()

    def handle_data(self, data: str) -> None:
        if not self.silent[-1]:
            self.depth = self._read(data, self.depth)

    def _read(self, text: str, depth: int) -> int:
        outside = []
        for part in re.split(f"([{OPENS}{CLOSES}])", text):
            depth += (part == OPENS) - (part == CLOSES)
            if not depth and part != CLOSES:
                outside.append(part)
        said = DATA.sub(" ", KEY.sub(" ", " ".join(outside)))
        if LETTERS.search(said):
            self.found.append(" ".join(said.split()))
        return depth


def unmarked(response: HttpResponse) -> list[str]:
    if not response.headers.get("Content-Type", "").startswith("text/html"):
        return []
    page = Unmarked()
    page.feed(response.content.decode())
    return page.found


def asked(world: World, who: str, method: str, path: str) -> HttpResponse:
    """Asked, and undone; where it leads somewhere, what is said there."""
    client = Client()
    if who != "nobody":
        client.cookies[django_settings.SESSION_COOKIE_NAME] = world.sessions[who]
    with transaction.atomic():
        answer = getattr(client, method.lower())(path, follow=True)
        transaction.set_rollback(True)
    return answer  # type: ignore[no-any-return]


@pytest.mark.django_db
@pytest.mark.usefixtures("_marked")
def test_every_page_and_every_answer_to_a_form_is_translated(
    settings: Settings, tmp_path: Path
) -> None:
    settings.UPLOADS_DIR = str(tmp_path)
    world, found = make_world(), {}
    for route, rule in RULES.items():
        for method, may in rule.items():
            for who in {min(may), "stranger", "nobody"} & (may | {"stranger"}):
                said = unmarked(asked(world, who, method, world.path(route)))
                if said:
                    found[f"{method} {route} by {who}"] = said
    assert found == {}


@pytest.fixture
def run(project: Project, ben: User) -> Run:
    """An audit done, an audit under way with labels at odds, a draft, a second verifier."""
    dan, eve = (builders.make_user(project, Role.REVIEWER, name=name) for name in ("dan", "eve"))
    run = builders.make_stored_run(project)
    conditions = [{"field": "outcome", "op": "is", "value": "fail"}]
    create_slice(project=project, name="refused ones", conditions=conditions, actor="ada")
    reviews = {"reviews_contradictions": True, "second_review_share": 0.5}
    rule = builders.open_audit(run, name="first audit", budget=64, **reviews)
    while window := rule.windows.filter(state=WindowState.OPEN).first():
        for reviewer in (ben, dan, eve):
            builders.answer_queue(rule, reviewer)
        audit.advance_window(window=window)
    judge_all(run)
    refresh_run(run=run)
    builders.store_steps(run, [3, 4])
    second = builders.open_audit(run, name="second audit", first_step=3, last_step=4, **reviews)
    builders.answer_queue(second, ben)
    label_everything(second, dan)
    builders.make_audit(run, name="a draft")
    run.refresh_from_db()
    return run


@pytest.mark.django_db
@pytest.mark.usefixtures("_marked")
def test_a_leads_pages_are_translated_when_there_is_much_to_say(run: Run, ada: User) -> None:
    client, found = signed_in(ada), {}
    label = run.rollouts.filter(assignments__labels__isnull=False).earliest("pk")
    pages = [
        reverse("web:home"),
        reverse("web:run", args=[run.pk]),
        *(reverse("web:audit", args=[rule.pk]) for rule in run.audit_rules.all()),
        reverse("web:audit-edit", args=[AuditRule.objects.get(name="second audit").pk]),
        reverse("web:scorecard", args=[run.pk]) + "?sort=fpr",
        reverse("web:labelled", args=[run.pk]) + "?estimand=fpr",
        reverse("web:table", args=[draft_table(run).pk]),
        reverse("web:slices", args=[run.project.slug]),
        reverse("web:rollout", args=[run.pk, label.pk]),
        reverse("web:adjudications", args=[run.project.slug]),
        reverse("web:replay-new", args=[run.pk]) + "?verifier=exact-match",
        reverse("web:disagreements", args=[run.pk]),
        reverse("web:verifiers", args=[run.project.slug]),
        reverse("web:verifier", args=[probed(run).pk]),
    ]
    answers = {page: client.get(page) for page in pages}
    preview = reverse("web:audit-new-preview", args=[run.pk])
    answers[preview] = client.post(preview, RULE | {"name": "", "slices": ""})
    for page, answer in answers.items():
        assert answer.status_code == 200
        if said := unmarked(answer):
            found[page] = said
    assert found == {}


def probed(run: Run) -> VerifierVersion:
    verifier = register_built_in(project=run.project, name="boxed-any", params={}, actor="ada")
    for _ in range(2):
        probe(run=start_probing(verifier=verifier, actor="ada"))
    return verifier


def test_what_a_page_says_by_a_variable_is_listed_for_translation() -> None:
    states = (
        *(RunStatus, RuleState, WindowState, WaveState, Outcome, ImportState, ErratumState),
        *(ReplayState, ProbeState),
    )
    assert {value for each in states for value in each.values} <= set(words.STATES)


def test_what_errors_say_is_listed_for_translation() -> None:
    """Their docstrings, and what they are raised with; the API's own errors meet no page."""
    listed = {*words.ERRORS, *words.REFUSALS}
    assert {error.__doc__.splitlines()[0] for error in _errors(ReviewError)} - listed == set()
    assert set(_raised()) - listed == set()


def _errors(error: type[ReviewError]) -> Iterator[type[ReviewError]]:
    if not error.__module__.startswith(("review.api", "review.core.embedded", "tests")):
        yield error
    for each in error.__subclasses__():
        yield from _errors(each)


def _raised() -> Iterator[str]:
    names = {error.__name__ for error in _errors(ReviewError)}
    for path in sorted((ROOT / "review").rglob("*.py")):
        if "api" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                call = node.exc
                if isinstance(call.func, ast.Name) and call.func.id in names and call.args:
                    text = call.args[0]
                    if isinstance(text, ast.Constant) and isinstance(text.value, str):
                        yield text.value
