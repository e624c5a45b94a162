"""Many reviewers at one queue, on connections that are killed: what the rows make of it."""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from django.db import InterfaceError, OperationalError, connection, connections
from django.utils import timezone

from review.accounts.models import User
from review.labeling.errors import LeaseLostError, UndoRefusedError
from review.labeling.models import Answer, Assignment, AssignmentState, Label, Lease, Queue
from review.labeling.services import labels, leases
from review.labeling.services.judgements import NewLabel

CORRECT = NewLabel(answer=Answer.CORRECT)

Answered = TypeVar("Answered")

# So often in a row a connection is not killed by chance.
PATIENCE = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """All but `kills` and `late` must be nought."""

    # Items that were served while another client held a live lease of them.
    doubled: int
    # Reviews that were neither answered in time nor served to whoever came last.
    lost: int
    # Reviews with more than one label that counts, and rollouts that somebody answered twice.
    labelled_too_often: int
    # Labels that a client was told are stored, and that are not.
    unstored: int
    # Labels of somebody to whom the item was never served.
    unserved: int
    kills: int
    late: int


class Clients:
    """What the clients know of leases: whose they are, and which of them were let go of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[UUID, dict[UUID, User]] = defaultdict(dict)
        self._let_go: set[UUID] = set()
        self.doubled = 0
        self.acknowledged: set[tuple[UUID, UUID]] = set()

    def served(self, item: Assignment, reviewer: User) -> None:
        token = token_of(item)
        with self._lock:
            if token not in self._let_go:
                held = self._held[item.pk]
                self.doubled += any(
                    owner != reviewer and other not in self._let_go for other, owner in held.items()
                )
                held[token] = reviewer

    def let_go(self, item: Assignment) -> None:
        """To be said before it is done; or after a commit, since what is done is served to none."""
        with self._lock:
            self._let_go.add(token_of(item))

    def acknowledge(self, item: Assignment, key: UUID) -> None:
        with self._lock:
            self.acknowledged.add((item.pk, key))


def token_of(item: Assignment) -> UUID:
    assert item.lease_token is not None
    return item.lease_token


def race(queue: Queue, reviewers: Sequence[User], *, threads: int, seed: int = 0) -> Outcome:
    """Every thread takes and commits until it finds nothing; some reviewers have two of them."""
    clients = Clients()
    with killed_connections(seed, threads) as kills, ThreadPoolExecutor(threads) as pool:
        people = [reviewers[i % len(reviewers)] for i in range(threads)]
        done = [
            pool.submit(_in_thread, _answer_all, queue, person, clients, seed, people.count(person))
            for seed, person in enumerate(people)
        ]
        for future in done:
            future.result()
    _sweep(queue, reviewers, clients)
    return _outcome(queue, clients, kills[0])


def _in_thread(work: Callable[..., None], *arguments: object) -> None:
    try:
        work(*arguments)
    finally:
        connections.close_all()


def _answer_all(queue: Queue, reviewer: User, clients: Clients, seed: int, tabs: int) -> None:
    chance = random.Random(seed)
    while item := persist(lambda: leases.take_next(queue=queue, reviewer=reviewer)):
        clients.served(item, reviewer)
        time.sleep(chance.uniform(0, 0.02))
        what = chance.random()
        if what < 0.05:
            _expire(item, clients)
        if what < 0.02:
            # Gone for good: whoever takes next gets the item.
            continue
        if 0.05 < what < 0.08:
            _release(item, reviewer, clients)
            continue
        _commit(item, reviewer, clients, times=chance.choice([1, 1, 1, 2]))
        # It gives back what the reviewer's other tab holds, which that cannot know.
        if what > 0.98 and tabs == 1:
            _undo(queue, reviewer, clients)


def _expire(item: Assignment, clients: Clients) -> None:
    clients.let_go(item)
    past = timezone.now() - timedelta(seconds=1)
    held = Assignment.objects.filter(
        pk=item.pk, state=AssignmentState.LEASED, lease_token=item.lease_token
    )
    persist(lambda: held.update(lease_expires_at=past))


def _release(item: Assignment, reviewer: User, clients: Clients) -> None:
    token = token_of(item)
    clients.let_go(item)
    try:
        persist(lambda: leases.release_item(assignment=item, reviewer=reviewer, token=token))
    except LeaseLostError:
        # Done before the connection was lost, or in the reviewer's other thread.
        return


def _commit(item: Assignment, reviewer: User, clients: Clients, *, times: int) -> None:
    token, key = token_of(item), uuid4()
    for _ in range(times):
        label, _ = persist(
            lambda: labels.commit_label(
                assignment=item, reviewer=reviewer, token=token, client_key=key, new=CORRECT
            )
        )
        assert label.client_key == key
        clients.acknowledge(item, key)
    clients.let_go(item)


def _undo(queue: Queue, reviewer: User, clients: Clients) -> None:
    try:
        item = persist(lambda: labels.retract_label(queue=queue, reviewer=reviewer))
    except UndoRefusedError:
        return
    clients.served(item, reviewer)


def _sweep(queue: Queue, reviewers: Sequence[User], clients: Clients) -> None:
    """Whoever comes last: what others let go of, also what was let go of for good."""
    past = timezone.now() - timedelta(seconds=1)
    Assignment.objects.filter(queue=queue, state=AssignmentState.LEASED).update(
        lease_expires_at=past
    )
    for reviewer in reviewers:
        while item := leases.take_next(queue=queue, reviewer=reviewer):
            _commit(item, reviewer, clients, times=1)


def persist(work: Callable[[], Answered]) -> Answered:
    """Ask again on a new connection, as a client does that got no answer."""
    for _ in range(PATIENCE):
        try:
            return work()
        except (OperationalError, InterfaceError):
            connections.close_all()
            time.sleep(0.01)
    return work()


@contextmanager
def killed_connections(seed: int, most: int) -> Iterator[list[int]]:
    """One of the database's other connections at a time, each about once a second.

    Fewer a second when fewer are left, so that whoever is left gets on.
    """
    chance, stop, kills = random.Random(seed), threading.Event(), [0]
    watcher = own_pid()

    def kill() -> None:
        try:
            spared = [watcher, own_pid()]
            while not stop.wait(chance.uniform(0.01, 0.06)):
                kills[0] += kill_one(chance.randrange(most), spared)
        finally:
            connections.close_all()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield kills
    finally:
        stop.set()
        killer.join()


def own_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def kill_one(position: int, spared: Sequence[int]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> ALL(%s)",
            [list(spared)],
        )
        pids = [pid for (pid,) in cursor.fetchall()]
        is_there = position < len(pids)
        if is_there:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pids[position]])
    return is_there


def _outcome(queue: Queue, clients: Clients, kills: int) -> Outcome:
    items = Assignment.objects.filter(queue=queue).exclude(state=AssignmentState.WITHDRAWN)
    rows = Label.objects.filter(assignment__queue=queue)
    counting = rows.filter(is_late=False, retraction=None)
    per_item = Counter(counting.values_list("assignment", flat=True))
    per_person = Counter(counting.values_list("assignment__rollout", "reviewer"))
    stored = set(rows.values_list("assignment", "client_key"))
    served = set(Lease.objects.values_list("assignment", "reviewer"))
    return Outcome(
        doubled=clients.doubled,
        lost=items.count() - len(per_item),
        labelled_too_often=sum(
            count > 1 for found in (per_item, per_person) for count in found.values()
        ),
        unstored=len(clients.acknowledged - stored),
        unserved=len(set(rows.values_list("assignment", "reviewer")) - served),
        kills=kills,
        late=rows.filter(is_late=True).count(),
    )
