"""The web server or PostgreSQL is killed while labels are committed: none that was acknowledged is
lost, and none that was sent again is stored twice."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from review.core.embedded.postgres import EmbeddedPostgres
from tests import ROOT
from tests.contract.kill_scene import ITEMS
from tests.contract.test_server_restart import free_port, kill, start_server

KILLS = 2
# So long a client goes on asking.
PATIENCE_S = 90.0


@dataclass
class Scene:
    """A cluster that keeps what it acknowledges, and queues in it."""

    directory: Path
    postgres: list[EmbeddedPostgres]
    environment: dict[str, str]
    queues: list[str]
    tokens: list[str]

    def kill_postgres(self) -> None:
        """The postmaster, as an operator's `kill -9` or the kernel's want of memory would."""
        folder = self.postgres[-1].folder / "data"
        postmaster = int((folder / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        # Starts what does not run; the one that was there before keeps its reference.
        self.postgres.append(EmbeddedPostgres(self.directory).acquire())

    def rows(self, sql: str, queue: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            return connection.execute(sql, [queue]).fetchall()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("killed") / "postgres"
    postgres = EmbeddedPostgres(directory).acquire()
    postgres.ensure_database("assay")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "review.settings",
        "DATABASE_URL": postgres.url("assay"),
        # Nobody works off what commits set off.
        "CELERY_BROKER_URL": "memory://",
    }
    made = subprocess.run(
        [sys.executable, "-m", "tests.contract.kill_scene"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    scene = Scene(directory, [postgres], environment, **json.loads(made.stdout))
    yield scene
    for server in scene.postgres:
        server.release()
    shutil.rmtree(postgres.folder, ignore_errors=True)


@dataclass
class Client:
    """Takes and commits over HTTP until the queue is empty; asks again until it is answered."""

    url: str
    token: str
    queue: str
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    retries: int = 0

    def answer_all(self) -> None:
        while taken := self._post(f"queues/{self.queue}/take", {}):
            item, key = taken["assignment"], str(uuid4())
            said = {"token": item["lease"]["token"], "client_key": key, "answer": "correct"}
            self._post(f"assignments/{item['id']}/label", said)
            self.acknowledged.append((item["id"], key))

    def _post(self, path: str, body: dict[str, str]) -> dict[str, Any] | None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                answer = httpx.post(
                    f"{self.url}/api/v1/{path}",
                    json=body,
                    headers={"Authorization": f"Bearer {self.token}"},
                    timeout=20,
                    trust_env=False,
                )
                if answer.status_code < 500:
                    assert answer.is_success, answer.text
                    return answer.json() if answer.content else None
            self.retries += 1
            time.sleep(0.1)
        raise TimeoutError(path)


def label_while(disturb: Callable[[], None], url: str, scene: Scene, queue: str) -> list[Client]:
    """Four reviewers empty the queue; they are disturbed some labels apart."""
    clients = [Client(url, token, queue) for token in scene.tokens]
    with ThreadPoolExecutor(len(clients)) as threads:
        running = [threads.submit(client.answer_all) for client in clients]
        for kill_number in range(1, KILLS + 1):
            wait_for_labels(clients, kill_number * ITEMS // (KILLS + 2))
            time.sleep(random.Random(kill_number).uniform(0, 0.05))
            disturb()
        for client in running:
            client.result()
    return clients


def wait_for_labels(clients: list[Client], count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while sum(len(client.acknowledged) for client in clients) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def check(scene: Scene, queue: str, clients: list[Client]) -> None:
    stored = scene.rows(
        "SELECT item.id::text, client_key::text, is_late FROM labeling_label"
        " JOIN labeling_assignment AS item ON item.id = assignment_id WHERE queue_id = %s",
        queue,
    )
    acknowledged = [pair for client in clients for pair in client.acknowledged]
    assert sum(client.retries for client in clients) > 0, "nobody noticed a kill"
    # Each of them once, and nothing else.
    assert sorted((item, key) for item, key, _ in stored) == sorted(acknowledged)
    assert sorted({item for item, _ in acknowledged}) == sorted(
        item for item, _, is_late in stored if not is_late
    )
    states = "SELECT state, count(*) FROM labeling_assignment WHERE queue_id = %s GROUP BY state"
    assert dict(scene.rows(states, queue))["done"] == ITEMS


@pytest.mark.slow
def test_labels_survive_a_killed_web_server(scene: Scene) -> None:
    port = free_port()
    servers = [start_server(port, scene.environment)]

    def kill_server() -> None:
        kill(servers[-1])
        servers.append(start_server(port, scene.environment))

    try:
        clients = label_while(kill_server, f"http://127.0.0.1:{port}", scene, scene.queues[0])
    finally:
        kill(servers[-1])
    check(scene, scene.queues[0], clients)


@pytest.mark.slow
def test_labels_survive_a_killed_database(scene: Scene) -> None:
    port = free_port()
    server = start_server(port, scene.environment)
    url = f"http://127.0.0.1:{port}"
    try:
        clients = label_while(scene.kill_postgres, url, scene, scene.queues[1])
    finally:
        kill(server)
    check(scene, scene.queues[1], clients)
