"""A small HTTP server that keeps what it is sent, and fails as it is told to."""

import gzip
import json
import socket
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

# An HTTP status, or the connection cut before or after the request has been taken in.
Failure = int | Literal["cut-before", "cut-after"]
TOKEN = "token-0123456789"


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Answer(NamedTuple):
    status: int
    body: Any = None
    headers: Mapping[str, str] = MappingProxyType({})


class RecordingServer:
    """Its state outlives `stop` and `start`, which keeps the port."""

    def __init__(self) -> None:
        self.requests: list[Request] = []  # those taken in, in order
        self.failures: deque[Failure | None] = deque()  # None: this one goes well
        self.answers: dict[str, Answer] = {}  # by "METHOD path", before the built-in ones
        self.table: dict[str, Any] | None = None
        self.signal = "ok"
        self.port = 0
        self._http: _Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._http = _Server(("127.0.0.1", self.port), _Handler, bind_and_activate=True)
        self._http.state = self
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,)).start()

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http.hang_up()
            self._http = None

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """The rollouts or prompts taken in, in order, repeats included."""
        path = f"/api/v1/runs/r-1/{kind}"
        return [
            item
            for request in self.requests
            if (request.method, request.path) == ("POST", path)
            for item in request.body[kind]
        ]

    def updates(self) -> list[Any]:
        return [request.body for request in self.requests if request.method == "PATCH"]

    def answer(self, request: Request) -> Answer:
        path = request.path.partition("?")[0]
        if scripted := self.answers.get(f"{request.method} {path}"):
            return scripted
        match path.removeprefix("/api/v1/").split("/"):
            case ["runs"]:
                return Answer(201, {"id": "r-1", "uid": request.body["uid"]})
            case ["runs", "r-1"]:
                return Answer(200, {"id": "r-1", "uid": "u"})
            case ["runs", "r-1", "prompts" | "rollouts" as kind]:
                return Answer(200, {"received": len(request.body[kind])})
            case ["runs", "r-1", "reward-table"]:
                return self._table_answer(request)
            case ["runs", "r-1", "signal"]:
                return Answer(200, {"state": self.signal, "reasons": self.reasons, "at": None})
        return Answer(404, {"error": {"code": "not_found", "message": path, "fields": {}}})

    def _table_answer(self, request: Request) -> Answer:
        if self.table is None:
            error = {"code": "no_reward_table", "message": "none is published", "fields": {}}
            return Answer(404, {"error": error})
        etag = f'"v{self.table["version"]}"'
        if request.headers.get("if-none-match") == etag:
            return Answer(304, headers={"ETag": etag})
        return Answer(200, self.table, {"ETag": etag})

    @property
    def reasons(self) -> list[dict[str, str]]:
        words = "reward and accuracy have parted"
        alarm = {"code": "gap", "state": self.signal, "text": words}
        return [] if self.signal == "ok" else [alarm]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    state: RecordingServer

    def __init__(self, *args: Any, **options: Any) -> None:
        self._connections: list[socket.socket] = []
        super().__init__(*args, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        for connection in self._connections:
            cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_one(self) -> None:
        state = self.server.state
        failure = state.failures.popleft() if state.failures else None
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # whoever sent it was killed meanwhile
            return self._cut(b"")
        if failure == "cut-before":
            return self._cut(b"")
        if isinstance(failure, int):
            error = {"code": "scripted", "message": f"as told, {TOKEN}", "fields": {"a": ["b"]}}
            return self._write(Answer(failure, {"error": error}))
        request = self._read(body)
        state.requests.append(request)
        if failure == "cut-after":
            return self._cut(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"rec')
        return self._write(state.answer(request))

    do_GET = do_POST = do_PATCH = handle_one

    def _read(self, body: bytes) -> Request:
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, self.path, headers, json.loads(body) if body else None)

    def _write(self, answer: Answer) -> None:
        content = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in {204, 304}:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _cut(self, beginning: bytes) -> None:
        self.wfile.write(beginning)
        self.wfile.flush()
        self.close_connection = True
        cut(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def cut(connection: socket.socket) -> None:
    with suppress(OSError):  # closed already
        connection.shutdown(socket.SHUT_RDWR)
