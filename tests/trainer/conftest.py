from collections.abc import Iterator

import pytest

from tests.trainer.recording_server import TOKEN, RecordingServer
from trainer.client import AssayClient


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    server = RecordingServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: RecordingServer) -> Iterator[AssayClient]:
    with AssayClient(server.url, TOKEN, timeout_s=5) as client:
        yield client
