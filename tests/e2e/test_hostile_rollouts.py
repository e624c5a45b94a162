"""Whatever a policy writes is shown as text: nothing of it runs, and nothing bursts the page."""

import pytest
from django.urls import reverse
from playwright.sync_api import Dialog, Page, Request

from review.accounts.models import Project, User
from review.labeling.models import Label
from review.runs.models import Run
from tests import builders
from tests.e2e.conftest import PHONE, SCREEN, SignIn
from tests.e2e.scenes import draft_table, label_everything, label_with, make_queue, open_audit

pytestmark = pytest.mark.e2e

PWN = "window.__pwned=1;alert(1)"
PAYLOADS = [
    f"<script>{PWN}</script>",
    f'"><script>{PWN}</script>',
    f"</textarea></title></style><script>{PWN}</script>",
    f"<scr<script>ipt>{PWN}</scr</script>ipt>",
    f'<img src=x onerror="{PWN}">',
    f"<img/src=x/onerror={PWN}>",
    f'<svg onload="{PWN}"></svg>',
    f"<svg><script>{PWN}</script></svg>",
    f'<svg><animate onbegin="{PWN}" attributeName=x dur=1s></svg>',
    f'<iframe srcdoc="<script>parent.{PWN}</script>"></iframe>',
    f'<object data="data:text/html,<script>{PWN}</script>"></object>',
    f'<details open ontoggle="{PWN}"><summary>x</summary></details>',
    f'<input autofocus onfocus="{PWN}">',
    f'<form action="javascript:{PWN}"><button>go</button></form>',
    f'<a href="javascript:{PWN}">here</a>',
    f"[here](javascript:{PWN})",
    f"[here](JaVaScRiPt&colon;{PWN})",
    f'![x](x.png"onerror="{PWN})',
    f"[x]: javascript:{PWN}\n\n[x]",
    f"<javascript:{PWN}>",
    f"<math><mtext><script>{PWN}</script></mtext></math>",
    f'<math><annotation-xml encoding="text/html"><img src=x onerror="{PWN}"></math>',
    f'<math href="javascript:{PWN}">click</math>',
    rf"$\text{{<script>{PWN}</script>}}$",
    rf"$\text{{<img src=x onerror={PWN}>}}$",
    rf"$\href{{javascript:{PWN}}}{{x}}$",
    rf"\[ \mbox{{</math><script>{PWN}</script>}} \]",
    rf"\boxed{{<svg onload={PWN}>}}",
    f"$x^2 and never closed <script>{PWN}</script>",
    r"\begin{align} x &= 1 \\ never closed",
    "$" * 400,
    r"\frac{" * 300,
    f"```html\n<script>{PWN}</script>\n```",
    f"`<script>{PWN}</script>`",
    "<style>body{display:none}</style><link rel=stylesheet href=//evil.example><base href=//evil>",
    '<div style="position:fixed;inset:0;background:url(//evil.example/x)" data-key="c">x</div>',
    '<div hx-get="/logout/" hx-trigger="load" data-hx-post="/logout/">x</div>',
    "a" * 5_000,
    "word " * 1_000,
    "https://example.com/" + "very-long/" * 200,
    "$" + "x+" * 1_500 + "x$",
    r"\[ " + "1234567890 + " * 300 + r"0 \]",
    "| " + " | ".join(["wide"] * 80) + " |\n|" + "---|" * 80,
    "\u202e\u2066 evil \u202d gnirts \u200f\u200e \u05d0\u05d1\u05d2",
    "\u0645\u0631\u062d\u0628\u0627 $x = 1$ \u0645\u0631\u062d\u0628\u0627",
    # A NUL is replaced at the server's door.
    "nul \ufffd and bell \x07 and esc \x1b[31m",
    "z" + "\u0336\u0337\u0338" * 300 + "algo",
    "&lt;script&gt;" + PWN + "&lt;/script&gt; &#x3c;script>",
    "{{ 7 * 7 }} {% csrf_token %} ${7*7} <%= 7*7 %>",
]


def watched(page: Page) -> list[str]:
    """What the page does that only a script that should not run, or a stranger's link, can do."""
    seen: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        seen.append(dialog.message)
        dialog.dismiss()

    def note(request: Request) -> None:
        if "evil" in request.url:
            seen.append(request.url)

    page.on("dialog", dismiss)
    page.on("request", note)
    return seen


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    width: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return width


def test_nothing_of_a_hostile_rollout_runs_or_bursts_the_label_page(
    project: Project, ben: User, sign_in: SignIn
) -> None:
    rollouts = [
        (payload, f"{payload}\n\nsecond {payload}\n\nSo \\boxed{{{payload[:60]}}}")
        for payload in PAYLOADS
    ]
    queue = make_queue(project, rollouts, budget=len(PAYLOADS))
    page = sign_in(ben)
    seen = watched(page)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    wide = []
    for _ in PAYLOADS:
        for size in (PHONE, SCREEN):
            page.set_viewport_size(size)
            if overflow(page) > 0:
                wide.append((size["width"], page.locator("#problem").inner_text()[:60]))
        assert page.evaluate("window.__pwned") is None
        label_with(page, ["c", "Enter"])
    assert wide == []
    assert seen == []
    assert Label.objects.count() == len(PAYLOADS)
    # Whatever one of them did would still be there.
    assert page.locator("#item").is_visible()


def test_hostile_names_are_text_on_the_pages_of_a_lead(
    project: Project, ada: User, ben: User, sign_in: SignIn
) -> None:
    name = f"<script>{PWN}</script>" + "n" * 150
    run = hostile_run(project, name)
    rule = open_audit(run, name=name, budget=32, waves=2)
    label_everything(rule, ben)
    builders.make_audit(run, name=name)
    page = sign_in(ada)
    seen = watched(page)
    paths = [
        reverse("web:home"),
        reverse("web:run", args=[run.pk]),
        reverse("web:audit-new", args=[run.pk]),
        reverse("web:table", args=[draft_table(run).pk]),
        reverse("web:tokens", args=[project.slug]),
    ]
    wide = []
    for path in paths:
        page.goto(path)
        for size in (PHONE, SCREEN):
            page.set_viewport_size(size)
            if overflow(page) > 0:
                wide.append((size["width"], path))
        assert page.evaluate("window.__pwned") is None
    assert wide == []
    assert seen == []


def hostile_run(project: Project, name: str) -> Run:
    project.name = name
    project.save()
    run = builders.make_run(project, name=name, uid=name)
    builders.store_steps(run, [1, 2], groups=12)
    return run
