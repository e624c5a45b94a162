"""A chat-completions endpoint over real HTTP that answers, and fails, as it is told to."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.trainer.recording_server import cut

RIGHT = "It follows.\nVERDICT: CORRECT"
WRONG = "It does not follow.\nVERDICT: INCORRECT"


class Says(NamedTuple):
    """A whole answer, after a pause; body replaces the API's own."""

    text: Any = RIGHT
    finish: str = "stop"
    tokens: tuple[int, int] = (100, 10)
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes | None = None
    pause_s: float = 0.0

    def content(self) -> bytes:
        if self.body is not None:
            return self.body
        message = {"role": "assistant", "content": self.text}
        usage = {"prompt_tokens": self.tokens[0], "completion_tokens": self.tokens[1]}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return json.dumps({"model": "served-1", "choices": [choice], "usage": usage}).encode()


class Fails(NamedTuple):
    """A status, silence for some seconds, a body that trickles without end, a cut connection."""

    status: int = 0
    headers: Mapping[str, str] = MappingProxyType({})
    silent_s: float = 0.0
    is_trickle: bool = False


Behaviour = Callable[[str], Says | Fails]


def always(answer: Says | Fails) -> Behaviour:
    return lambda prompt: answer


def in_turn(*answers: Says | Fails) -> Behaviour:
    """One after the other, whoever asks; the last one from then on."""
    left = list(answers)
    return lambda prompt: left.pop(0) if len(left) > 1 else left[0]


def response_in(prompt: str) -> str:
    """The judged response as it stands in a prompt."""
    found = re.search(r"\[(\w+) response\]\n(.*)\n\[\1 end of response\]", prompt, re.DOTALL)
    assert found is not None
    return found[2]


@dataclass
class Endpoint:
    """What was asked of it, in order, and how many asked at the same time."""

    behave: Behaviour
    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.bodies]


@contextmanager
def serving(behave: Behaviour) -> Iterator[Endpoint]:
    endpoint = Endpoint(behave)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.endpoint = endpoint
    endpoint.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield endpoint
    finally:
        server.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    endpoint: Endpoint

    def __init__(self, *args: Any) -> None:
        self.is_over = threading.Event()
        super().__init__(*args)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        endpoint = self.server.endpoint
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with endpoint.lock:
            endpoint.bodies.append(body)
            endpoint.headers.append({name.lower(): text for name, text in self.headers.items()})
            endpoint.paths.append(self.path)
            endpoint.at.append(time.monotonic())
            endpoint.busy += 1
            endpoint.most_busy = max(endpoint.most_busy, endpoint.busy)
            answer = endpoint.behave(body["messages"][0]["content"])
        try:
            if isinstance(answer, Says):
                time.sleep(answer.pause_s)
                self._write(answer.status, answer.headers, answer.content())
            else:
                self._fail(answer)
        finally:
            with endpoint.lock:
                endpoint.busy -= 1

    def _fail(self, failure: Fails) -> None:
        if failure.status:
            return self._write(failure.status, failure.headers, b'{"error": "as told"}')
        if failure.is_trickle:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            with suppress(OSError):
                while not self.server.is_over.wait(0.02):
                    self.wfile.write(b" ")
        self.server.is_over.wait(failure.silent_s)
        self.close_connection = True
        cut(self.connection)
        return None

    def _write(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""
