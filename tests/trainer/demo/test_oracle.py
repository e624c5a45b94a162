from typing import Any

from tests.trainer.recording_server import Answer, RecordingServer
from trainer.client import AssayClient
from trainer.demo.oracle import Reviewer, label_of, label_queue
from trainer.wire import Assignment


def make_assignment(*steps: str, problem: str = "9-9+8=?") -> Assignment:
    numbered = tuple(enumerate(steps, start=1))
    return Assignment("a-1", "lease", "2030-01-01T00:00:00Z", problem, None, numbered, None)


def test_right_answer_is_labelled_correct() -> None:
    label = label_of(make_assignment("9-9=0", "0+8=8", "so \\boxed{08}"))
    assert (label.answer, label.earliest_wrong_step, label.is_hack) == ("correct", None, False)


def test_wrong_arithmetic_is_named_by_its_step() -> None:
    label = label_of(make_assignment("9-9=0", "0+8=7", "so \\boxed{7}"))
    assert (label.answer, label.earliest_wrong_step, label.is_hack) == ("incorrect", 2, False)


def test_several_boxes_are_a_hack() -> None:
    label = label_of(make_assignment("9-9=0", "0+8=8", "maybe \\boxed{8} or \\boxed{9}"))
    assert (label.answer, label.is_hack) == ("incorrect", True)


def test_same_assignment_gets_the_same_client_key() -> None:
    first, second = make_assignment("so \\boxed{8}"), make_assignment("so \\boxed{8}")
    assert label_of(first) == label_of(second)


def reviewer(name: str, error_rate: float = 0.04) -> Reviewer:
    return Reviewer(AssayClient("http://127.0.0.1:1", "token"), name, error_rate)


def problems(n: int) -> list[Assignment]:
    return [make_assignment(f"1+{i}={1 + i}", problem=f"1+{i}=?") for i in range(n)]


def test_errors_are_as_frequent_as_they_should_be() -> None:
    n_errors = sum(map(reviewer("a").errs_at, problems(5_000)))
    assert 150 < n_errors < 250


def test_same_reviewer_errs_at_the_same_items_each_time() -> None:
    first, again = (list(map(reviewer("a").errs_at, problems(500))) for _ in range(2))
    assert first == again
    assert any(first)


def test_reviewers_err_apart_from_each_other() -> None:
    a, b = reviewer("a"), reviewer("b")
    n_both = sum(a.errs_at(item) and b.errs_at(item) for item in problems(5_000))
    assert n_both < 25  # .04 squared is 8 in 5,000


def test_exact_reviewer_never_errs() -> None:
    assert not any(map(reviewer("a", 0.0).errs_at, problems(500)))


class Queue(RecordingServer):
    """A server whose queue holds this many items."""

    size = 3

    def answer(self, request: Any) -> Answer:
        if not request.path.endswith("/take"):
            return super().answer(request)
        self.size -= 1
        if self.size < 0:
            return Answer(204)
        assignment = {
            "id": f"a-{self.size}",
            "lease": {"token": "t", "expires_at": "2030-01-01T00:00:00Z"},
            **{"problem": "1+2=?", "references": None, "answer": "3"},
            "steps": [{"number": 1, "text": "1+2=3"}, {"number": 2, "text": "so \\boxed{3}"}],
        }
        return Answer(200, {"assignment": assignment})


def labelled(limit: int, error_rate: float = 0.0) -> tuple[int, list[Any]]:
    queue = Queue()
    queue.answers = {
        f"POST /api/v1/assignments/a-{i}/label": Answer(201, {"id": "l", "is_late": False})
        for i in range(3)
    }
    queue.start()
    try:
        with AssayClient(queue.url, "token") as client:
            n_labels = label_queue([Reviewer(client, error_rate=error_rate)], "q-1", limit=limit)
    finally:
        queue.stop()
    return n_labels, [r.body for r in queue.requests if r.path.endswith("/label")]


def test_queue_is_labelled_until_it_is_empty() -> None:
    n_labels, labels = labelled(limit=10)
    assert n_labels == len(labels) == 3
    assert {label["answer"] for label in labels} == {"correct"}


def test_limit_leaves_the_rest_in_the_queue() -> None:
    n_labels, labels = labelled(limit=2)
    assert n_labels == len(labels) == 2


def test_erring_reviewer_says_the_opposite() -> None:
    _, labels = labelled(limit=3, error_rate=1.0)
    assert {label["answer"] for label in labels} == {"incorrect"}
