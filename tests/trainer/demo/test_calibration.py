from collections.abc import Iterator

import pytest

from tests.trainer.recording_server import Answer, RecordingServer, Request
from trainer.client import AssayClient
from trainer.config import TrainerConfig
from trainer.demo.calibration import Calibration
from trainer.demo.oracle import Reviewer
from trainer.demo.plans import ARMS, planned_tables


class Server(RecordingServer):
    """A server whose audits are the numbers in which they are made; queues are empty."""

    def answer(self, request: Request) -> Answer:
        if request.method == "POST" and request.path.endswith("/audits"):
            return Answer(201, self.audit(len(self.audits()) - 1, "open"))
        if request.path.endswith("/take"):
            return Answer(204)
        return super().answer(request)

    def audits(self) -> list[Request]:
        return [request for request in self.requests if request.path.endswith("/audits")]

    @staticmethod
    def audit(number: int, state: str) -> dict[str, object]:
        window = {
            **{"id": "w", "first_step": 1, "last_step": 8, "state": state},
            **{"frame_size": 2048, "waves": []},
        }
        return {
            **{"id": f"audit-{number}", "queue": f"queue-{number}", "state": "active"},
            "windows": [window],
        }


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.answers = {
        f"POST /api/v1/audits/audit-{number}/start": Answer(200, {}) for number in range(2)
    }
    server.start()
    yield server
    server.stop()


def make_calibration(client: AssayClient, arm: str) -> Calibration:
    audit = ARMS[arm].audit
    assert audit is not None
    tables = planned_tables(audit, TrainerConfig())
    return Calibration(client, [Reviewer(client)], "run-1", audit, tables)


def test_audits_of_the_plan_are_started_before_anything_else(server: Server) -> None:
    with AssayClient(server.url, "token") as client:
        make_calibration(client, "calibrated-300")
    warm_up, windows = (request.body for request in server.audits())
    assert (warm_up["first_step"], warm_up["last_step"], warm_up["budget"]) == (1, 8, 108)
    assert (windows["first_step"], windows["last_step"]) == (9, 48)
    assert (windows["window_steps"], windows["budget"]) == (10, 48)
    assert windows["second_reviews"] == {"contradictions": False, "share": 0.0}


def test_reviewers_who_err_are_reviewed_again(server: Server) -> None:
    with AssayClient(server.url, "token") as client:
        make_calibration(client, "calibrated-300-erring")
    for request in server.audits():
        assert request.body["second_reviews"] == {"contradictions": True, "share": 0.1}


def test_open_window_is_waited_for_while_the_server_is_away(server: Server) -> None:
    with AssayClient(server.url, "token") as client:
        calibration = make_calibration(client, "calibrated-300")
        server.answers["GET /api/v1/audits/audit-0"] = Answer(200, server.audit(0, "open"))
        waiting = calibration.publish_all()
        next(waiting)
        server.failures.append(503)
        next(waiting)
    assert calibration.publications == []
