"""Pages prepared ahead wait for commits, and not for ever."""

import time
from threading import Event, Thread

from review.web import courtesy
from review.web.courtesy import give_way, patient, urgent


def test_a_page_prepared_ahead_waits_for_an_answer_that_somebody_waits_for() -> None:
    is_under_way, may_end = Event(), Event()

    @urgent
    def commit() -> None:
        is_under_way.set()
        may_end.wait(5)
        time.sleep(0.05)
        ends.append("commit")

    @patient
    def prepare() -> None:
        may_end.set()
        give_way()
        ends.append("page")

    ends: list[str] = []
    thread = Thread(target=commit)
    thread.start()
    is_under_way.wait(5)
    prepare()
    thread.join()
    assert ends == ["commit", "page"]


def test_its_patience_ends_and_is_for_the_whole_page() -> None:
    @urgent
    def commit() -> float:
        return waited()

    @patient
    def waited() -> float:
        started = time.monotonic()
        for _ in range(10):
            give_way()
        return time.monotonic() - started

    assert courtesy.LONGEST_S <= commit() < 3 * courtesy.LONGEST_S


def test_nobody_else_waits() -> None:
    @urgent
    def commit() -> float:
        started = time.monotonic()
        give_way()
        return time.monotonic() - started

    assert commit() < courtesy.LONGEST_S / 2


def test_what_breaks_is_under_way_no_longer() -> None:
    @urgent
    def broken() -> None:
        raise ValueError

    @patient
    def waited() -> float:
        started = time.monotonic()
        give_way()
        return time.monotonic() - started

    for _ in range(2):
        try:
            broken()
        except ValueError:
            continue
    assert waited() < courtesy.LONGEST_S / 2
