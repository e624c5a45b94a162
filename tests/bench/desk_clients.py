"""The other reviewers of `make bench-desk`: threads that speak HTTP as the page does.

Given the plan as its one argument; labels until a line comes in; then prints what it saw.
"""

import json
import random
import re
import sys
import threading
import time
from statistics import quantiles
from typing import Any

import httpx

FIELD = re.compile(r'data-(item|lease-token|client-key|ahead)="([^"]+)"')
CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
CLIENT_KEY = re.compile(r'name="client_key" value="([^"]+)"')
PART = {"HX-Request": "true"}


class Reviewer:
    def __init__(self, plan: dict[str, Any], session: str, seed: int) -> None:
        self.plan = plan
        self.chance = random.Random(seed)
        cookies = {plan["cookie"]: session}
        self.http = httpx.Client(base_url=plan["url"], cookies=cookies, timeout=30, trust_env=False)
        self.times: list[float] = []
        self.hits = self.failures = 0

    def work(self, stopped: threading.Event) -> None:
        stopped.wait(self.plan["think"] * self.chance.random())
        page = self.http.get(self.plan["next"]).text
        self.csrf = CSRF.findall(page)[0]
        item = self.item_in(page)
        while item and not stopped.is_set():
            ahead = self.prepare(item)
            stopped.wait(self.plan["think"] * (0.5 + self.chance.random()))
            self.post(item, "draft", {"answer": "correct"})
            item = self.commit(item, ahead)

    def item_in(self, page: str) -> dict[str, str]:
        fields = dict(FIELD.findall(page)) | {"csrf": self.csrf}
        if key := CLIENT_KEY.search(page):
            fields["client-key"] = key[1]
        return fields if "lease-token" in fields else {}

    def prepare(self, item: dict[str, str]) -> dict[str, str]:
        answer = self.http.get(f"/items/{item['item']}/ahead/", headers=PART)
        if answer.status_code != 200:
            return {}
        fields = dict(FIELD.findall(answer.text))
        return {"prepared": fields["item"], "ahead": fields["ahead"]}

    def commit(self, item: dict[str, str], ahead: dict[str, str]) -> dict[str, str]:
        said = {"answer": self.chance.choice(["correct", "incorrect"]), "note": ""}
        said |= {"client_key": item["client-key"], "active_ms": "3000"} | ahead
        started = time.perf_counter()
        answer = self.post(item, "label", said)
        self.times.append(1000 * (time.perf_counter() - started))
        if answer.status_code != 200:
            self.failures += 1
        self.hits += answer.text.lstrip().startswith('<div id="last"')
        return self.item_in(answer.text)

    def post(self, item: dict[str, str], what: str, fields: dict[str, str]) -> httpx.Response:
        return self.http.post(
            f"/items/{item['item']}/{what}/",
            data={"token": item["lease-token"], **fields},
            headers=PART | {"X-CSRFToken": self.csrf},
        )


def main() -> None:
    plan = json.loads(sys.argv[1])
    reviewers = [Reviewer(plan, session, seed) for seed, session in enumerate(plan["sessions"])]
    stopped = threading.Event()
    threads = [threading.Thread(target=each.work, args=[stopped]) for each in reviewers]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    stopped.set()
    for thread in threads:
        thread.join()
    times = [each for reviewer in reviewers for each in reviewer.times]
    seen = {
        "p95_ms": quantiles(times, n=20, method="inclusive")[-1],
        "hits": sum(reviewer.hits for reviewer in reviewers),
        "failures": sum(reviewer.failures for reviewer in reviewers),
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
