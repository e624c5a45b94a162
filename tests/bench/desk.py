"""`make bench-desk`: how soon is the next rollout there? In a real browser, while 7 others label.

The server of the demo (granian, worker, durable PostgreSQL), Chromium on the same machine, and the
other reviewers in one more process: each reads for about 3 s, saves a draft, prepares the next item
as the page does, and commits. Measured from the key that commits until the second animation frame
after the next item is in the page: it is painted by then.
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, sync_playwright

from review.accounts.models import Project, Role, User
from review.core.embedded.postgres import EmbeddedPostgres
from review.flows import audit, ingest
from review.flows.management.processes import server_processes
from review.labeling.models import Label, Queue
from review.settings import postgres as settings_of
from tests import ROOT, builders
from tests.bench.database import bench_database
from tests.e2e.conftest import FLAGS, SCREEN

WARM_UP = 5
# How long the measured reader looks at an item.
GLANCE_S = 1.2
MEASURE = """
window.measured = [];
let pressed = 0;
addEventListener("keydown", (event) => {
  if (event.key === "Enter") pressed = performance.now();
}, true);
document.addEventListener("desk:shown", (event) => {
  const isPrepared = event.detail.isPrepared;
  const swapped = performance.now();
  requestAnimationFrame(() => requestAnimationFrame(() => {
    const painted = performance.now();
    window.measured.push({ ms: painted - pressed, swap_ms: swapped - pressed, isPrepared });
  }));
});
"""


@dataclass(frozen=True)
class Commit:
    ms: float
    # Until the item was in the page; the rest is layout and paint.
    swap_ms: float
    is_prepared: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=80)
    parser.add_argument("--clients", type=int, default=7)
    parser.add_argument("--think", type=float, default=3.0)
    arguments = parser.parse_args()
    others_need = (arguments.commits + WARM_UP) * GLANCE_S * 2 / arguments.think + 20
    items = int(arguments.commits + WARM_UP + arguments.clients * others_need)
    with durable_postgres(), bench_database():
        project = builders.make_project("Desk")
        reviewers = [
            builders.make_user(project, Role.REVIEWER) for _ in range(arguments.clients + 1)
        ]
        queue = realistic_queue(project, items)
        with server() as url, other_reviewers(url, queue, reviewers[1:], arguments.think) as done:
            before = cpu_ticks()
            commits = label_in_browser(url, queue, reviewers[0], arguments.commits)
            idle, total = (now - then for now, then in zip(cpu_ticks(), before, strict=True))
            others = done()
        print(f"the machine's cores were idle for {idle / total:.0%} of the time")
        report(commits, others, Label.objects.exclude(reviewer=reviewers[0]).count())


@contextmanager
def durable_postgres() -> Iterator[None]:
    """One that waits for the disk at every commit, as it does where labels count."""
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as home:
        postgres = EmbeddedPostgres(Path(home) / "postgres").acquire()
        try:
            found = settings_of(postgres.url("assay_bench"))
            connection.settings_dict.update(
                {name: found[name] for name in ("HOST", "PORT", "USER")}
            )
            yield
        finally:
            postgres.release()


def cpu_ticks() -> tuple[int, int]:
    """Idle, and altogether: where other programs leave little, the figures are theirs."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return ticks[3] + ticks[4], sum(ticks)


# -- what is labelled ----------------------------------------------------------------------------


def realistic_queue(project: Project, items: int) -> Queue:
    """Competition mathematics: a page or two of formulas each, no two of them alike."""
    run = builders.make_run(project, group_size=4)
    chance = random.Random(11)
    rollouts = []
    for number in range(2 * items):
        if number % 4 == 0:
            builders.make_prompt(run, f"p{number // 4}", problem(chance), "6")
        rollouts.append(
            builders.make_rollout(
                solution(chance),
                uid=f"r{number}",
                prompt=f"p{number // 4}",
                group=f"g{number // 4}",
            )
        )
    for start in range(0, len(rollouts), 200):
        ingest.store_batch(run=run, batch=rollouts[start : start + 200])
    ingest.finish_step(run=run, step=1)
    rule = builders.make_audit(run, last_step=1, window_steps=1, budget=items, waves=1)
    audit.start_audit(rule=rule, actor="bench")
    audit.open_windows(run=run)
    return rule.queue


def problem(chance: random.Random) -> str:
    a, b = chance.randint(2, 99), chance.randint(2, 99)
    return rf"""Let $f(x) = {a}x^2 - {b}x + c$ for a real $c$. Find the value of $c$ for which
\[ \int_0^{{{a}}} f(x)\,dx = {b}. \]"""


STEPS = [
    "We integrate **term by term** over the interval $[0, {a}]$, which is allowed since ${b} > 0$.",
    r"\[ \int_0^{a} x^2\,dx = \left[ \frac{{x^3}}{{3}} \right]_0^{a} = \frac{{{b}}}{{3}} = {c} \]",
    r"\[ \sum_{{k=1}}^{{{a}}} \frac{{k^2 + {b}}}{{\sqrt{{k + {c}}}}} \le \frac{{{a}}}{{{b}}} \]",
    r"Adding up \[ \begin{{aligned}} {a} - {b} + 6c &= {c} \\ 6c &= {b}. \end{{aligned}} \]",
    "Since ${a}x + {b}y = {c}$ has no solution modulo ${b}$, the case $x = {a}$ is impossible, and "
    "what remains is to look at the ${c}$ pairs $(x, y)$ with $x < y$. In each of them the first "
    "coordinate is a divisor of ${a}$, as we have seen, so that at most ${b}$ pairs are left.",
    r"Hence $\binom{{{a}}}{{2}} = \frac{{{a} \cdot {b}}}{{2}}$ and $P = \frac{{{a}}}{{{c}}}$.",
    "| n | value |\n|---|---|\n| 1 | ${a}$ |\n| 2 | ${b}$ |\n| 3 | ${c}$ |",
    "- If $n = {a}$, then $n^2 = {b}$.\n- If $n = {b}$, then $n^2 = {c}$.\n- Otherwise none.",
]


def solution(chance: random.Random) -> str:
    parts = [
        chance.choice(STEPS).format(
            a=chance.randint(2, 99), b=chance.randint(2, 999), c=chance.randint(2, 999)
        )
        for _ in range(chance.choice([6, 8, 10, 12, 16, 24, 40]))
    ]
    return "\n\n".join([*parts, rf"Hence the value is $\boxed{{{chance.randint(2, 9)}}}$."])


# -- the server, as the demo runs it -------------------------------------------------------------


def environment() -> dict[str, str]:
    database = connection.settings_dict
    url = f"postgresql://{database['USER']}@/{database['NAME']}?host={database['HOST']}"
    return {**os.environ, "DATABASE_URL": f"{url}&port={database['PORT']}"}


@contextmanager
def server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as home, ExitStack() as stack:
        specs = server_processes(port, Path(home))
        for spec in specs:
            process = subprocess.Popen(
                list(spec.command), env=environment() | dict(spec.env or {}), cwd=ROOT
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        wait_until_ready(specs[0].readiness)
        yield f"http://127.0.0.1:{port}"
    with connection.cursor() as cursor:
        # What the server's own processes leave behind would keep the database from going.
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def wait_until_ready(is_ready: Any) -> None:
    end = time.monotonic() + 60
    while not is_ready():
        if time.monotonic() > end:
            raise TimeoutError("the server does not answer")
        time.sleep(0.2)


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@contextmanager
def other_reviewers(url: str, queue: Queue, users: list[User], think: float) -> Iterator[Any]:
    """In a process of their own; yields how to stop them and learn what they saw."""
    plan = {
        "url": url,
        "next": reverse("web:label-next", args=[queue.pk]),
        "cookie": settings.SESSION_COOKIE_NAME,
        "sessions": [session_of(user) for user in users],
        "think": think,
    }
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("desk_clients.py")), json.dumps(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )

    def done() -> dict[str, Any]:
        seen, _ = process.communicate("stop\n", timeout=60)
        return dict(json.loads(seen.splitlines()[-1]))

    try:
        # They come one after the other, as people do.
        time.sleep(think + 2)
        yield done
    finally:
        process.kill()


# -- the browser ---------------------------------------------------------------------------------


def label_in_browser(url: str, queue: Queue, user: User, commits: int) -> list[Commit]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        context = browser.new_context(viewport=SCREEN, base_url=url)
        name = settings.SESSION_COOKIE_NAME
        context.add_cookies([{"name": name, "value": session_of(user), "url": url}])
        page = context.new_page()
        page.add_init_script(MEASURE)
        page.goto(reverse("web:label-next", args=[queue.pk]))
        for number in range(WARM_UP + commits):
            label_one(page, number)
        measured = page.evaluate("window.measured")
        browser.close()
    return [Commit(each["ms"], each["swap_ms"], each["isPrepared"]) for each in measured][WARM_UP:]


def label_one(page: Page, number: int) -> None:
    """Look at it, walk a few steps, answer, commit."""
    page.wait_for_timeout(GLANCE_S * 1000 * (0.7 + 0.6 * random.random()))
    for key in "jjjkx"[: 1 + number % 5]:
        page.keyboard.press(key)
    page.keyboard.press("ci"[number % 2])
    page.keyboard.press("Enter")
    page.wait_for_function("count => window.measured.length > count", arg=number, polling=20)


def report(commits: list[Commit], others: dict[str, Any], labels: int) -> None:
    times = sorted(commit.ms for commit in commits)
    hits = [commit.is_prepared for commit in commits]
    cuts = quantiles(times, n=100, method="inclusive")
    swaps = quantiles([commit.swap_ms for commit in commits], n=100, method="inclusive")
    print(f"{'':<28}{'p50':>8}{'p95':>8}{'max':>8}")
    print(f"{'commit to painted, ms':<28}{cuts[49]:>8.0f}{cuts[94]:>8.0f}{times[-1]:>8.0f}")
    print(f"{'  of it to swapped, ms':<28}{swaps[49]:>8.0f}{swaps[94]:>8.0f}")
    print(
        f"{len(commits)} commits, {sum(hits)} onto a prepared item; meanwhile the others stored "
        f"{labels} labels, {others['hits']} onto a prepared one; p95 of their commits "
        f"{others['p95_ms']:.0f} ms, {others['failures']} failed"
    )
    figures = {
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "prefetch_hit_share": round(sum(hits) / len(hits), 3),
    }
    print(json.dumps({"bench": "desk", "figures": figures}))


if __name__ == "__main__":
    main()
