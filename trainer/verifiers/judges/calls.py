"""Calls of an OpenAI-compatible endpoint: many at once, each tried again, none past the deadline.

No prompt, no answer and no key is logged here, nor by httpx, which logs method, URL and status.
"""

import asyncio
import json
import os
import random
import re
import ssl
import threading
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from trainer.verifiers import parameters
from trainer.verifiers.base import ParameterError

_TRY_LATER = frozenset({408, 425, 429})
_LONGEST_BACKOFF_S = 60.0
_MAX_BODY_BYTES = 4_000_000
# So that a parameter cannot name any other secret of the process and have it sent somewhere.
_KEY_NAME = re.compile(r"(?:[A-Z][A-Z0-9_]{0,60}_)?API_KEY")

_Result = TypeVar("_Result")

_allowed_hosts: frozenset[str] | None = None


def allow_only_hosts(hosts: Collection[str] | None) -> None:
    """From now on the judges of this process call these hosts alone; None = any.

    hosts: "host" with any port, or "host:port"; an IPv6 address with or without its brackets. For a
    server's workers, where people who may not reach its network name a judge's URL: each calls this
    when it starts.
    """
    global _allowed_hosts
    plain = str.maketrans("", "", "[]")
    _allowed_hosts = None if hosts is None else frozenset(h.lower().translate(plain) for h in hosts)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to call: base_url is followed by "/chat/completions"; api_key_env names the
    environment variable with the key ("" = no key is sent).

    Raises ParameterError for what is no plain HTTP URL, a host that `allow_only_hosts` leaves out,
    and a variable whose name does not end with API_KEY.
    """

    base_url: str
    api_key_env: str

    def __post_init__(self) -> None:
        self.check_host()
        is_name = isinstance(self.api_key_env, str) and _KEY_NAME.fullmatch(self.api_key_env)
        if self.api_key_env != "" and not is_name:
            raise ParameterError("api_key_env: must be a variable's name that ends with API_KEY")

    @property
    def url(self) -> str:
        return self.base_url.rstrip("/") + "/chat/completions"

    def check_host(self) -> None:
        """Raises ParameterError where the URL may not be called (any more)."""
        host, port = _address(self.base_url)
        allowed = _allowed_hosts
        if allowed is not None and not {host, f"{host}:{port}"} & allowed:
            raise ParameterError(f"base_url: the host {host}:{port} is not among those allowed")

    def key(self) -> str | None:
        """The key, None where none is sent. Raises ParameterError where there should be one."""
        if not self.api_key_env:
            return None
        key = os.environ.get(self.api_key_env, "")
        # An unusable header value would be quoted, key and all, by the layers below.
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ParameterError(f"api_key_env: {self.api_key_env} holds no usable key")
        return key


def _address(url: object) -> tuple[str, int]:
    """The URL's host and port. Raises ParameterError."""
    rule = "base_url: must be http(s)://host[:port][/path] without credentials, query or fragment"
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        raise ParameterError(rule)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        host.encode("idna")  # what cannot be looked up would raise there
        httpx.URL(url)
    except (ValueError, KeyError, httpx.InvalidURL):
        raise ParameterError(rule) from None
    if not host or set(url) & set("@?#\\"):
        raise ParameterError(rule)
    return host, port


@dataclass(frozen=True, slots=True)
class Limits:
    """How a batch is called; raises ParameterError, naming the parameter.

    concurrency: calls at once. attempts: for one item. backoff_s: before the second attempt, about;
    doubled before each further one. timeout_s: of one attempt. deadline_s: of the batch.
    budget_calls, budget_tokens: of all batches together; None = no limit. Every attempt is a call;
    tokens are the endpoint's count of prompt and answer.
    """

    concurrency: int
    attempts: int
    backoff_s: float
    timeout_s: float
    deadline_s: float
    budget_calls: int | None
    budget_tokens: int | None

    def __post_init__(self) -> None:
        parameters.whole("concurrency", self.concurrency, least=1, most=256)
        parameters.whole("attempts", self.attempts, least=1, most=20)
        parameters.number("backoff_s", self.backoff_s, least=0, most=_LONGEST_BACKOFF_S)
        parameters.seconds("timeout_s", self.timeout_s)
        parameters.seconds("deadline_s", self.deadline_s)
        for name in ("budget_calls", "budget_tokens"):
            if getattr(self, name) is not None:
                parameters.whole(name, getattr(self, name), least=1, most=10**12)


class Ledger:
    """What has been spent of a budget; threads may share it."""

    __slots__ = ("_lock", "calls", "tokens")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls = 0
        self.tokens = 0

    def refusal_to_call(self, limits: Limits) -> str | None:
        """Counts a call, or says why there is none left.

        Tokens are known after a call: a budget of them may be passed by the calls under way.
        """
        with self._lock:
            if limits.budget_calls is not None and self.calls >= limits.budget_calls:
                return f"budget spent: {self.calls} calls"
            if limits.budget_tokens is not None and self.tokens >= limits.budget_tokens:
                return f"budget spent: {self.tokens} tokens"
            self.calls += 1
            return None

    def count_tokens(self, tokens: int) -> None:
        with self._lock:
            self.tokens += tokens


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answered. tokens: of prompt and answer, as the endpoint counts them."""

    text: str
    model: str
    is_cut_off: bool
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Call:
    """One item's calls: the reply, or why there is none."""

    reply: Reply | None
    reason: str
    attempts: int
    seconds: float


def call_all(
    endpoint: Endpoint, bodies: Sequence[Mapping[str, Any]], limits: Limits, ledger: Ledger
) -> list[Call]:
    """Ask the endpoint each question, and answer in their order.

    A plain call from any thread, one with a running event loop too. It ends at the deadline.
    """
    if not bodies:
        return []
    try:
        endpoint.check_host()
        key = endpoint.key()
    except ParameterError as error:
        return [Call(None, str(error), 0, 0.0) for _ in bodies]
    return _run_apart(_Caller(endpoint.url, key, limits, ledger).call_all(bodies))


def _run_apart(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run it on an event loop of its own, and wait for its result alone: the loop's clean-up waits
    for name resolution, which cannot be cancelled."""
    result: Future[_Result] = Future()

    async def deliver() -> None:
        try:
            result.set_result(await work)
        except BaseException as error:  # it is raised again where the result is taken
            result.set_exception(error)

    threading.Thread(target=asyncio.run, args=(deliver(),), daemon=True).start()
    return result.result()


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the authorities' certificates takes longer than a call."""
    return httpx.create_ssl_context()


class _TryAgain(Exception):  # noqa: N818 - no error yet
    """The attempt failed in a way that may pass. wait_s: as long as the endpoint asks for."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _GiveUp(Exception):  # noqa: N818 - ends one item's calls
    """No further attempt will do better."""


class _Caller:
    """The calls of one batch."""

    def __init__(self, url: str, key: str | None, limits: Limits, ledger: Ledger) -> None:
        self._url = url
        self._key = key
        self._limits = limits
        self._ledger = ledger
        self._ends_at = monotonic() + limits.deadline_s
        self._resumes_at = 0.0  # nobody calls before: the endpoint asked for it

    async def call_all(self, bodies: Sequence[Mapping[str, Any]]) -> list[Call]:
        calls: list[Call | None] = [None] * len(bodies)
        waiting = iter(enumerate(bodies))

        async def work() -> None:
            for position, body in waiting:
                calls[position] = await self._call(http, body)

        # httpx bounds the single read with it; `_attempt` and `_call` bound the whole.
        async with self._client() as http:
            await asyncio.gather(*(work() for _ in range(self._limits.concurrency)))
        return [call for call in calls if call is not None]

    def _client(self) -> httpx.AsyncClient:
        connections = httpx.Limits(max_connections=self._limits.concurrency)
        return httpx.AsyncClient(timeout=self._limits.timeout_s, limits=connections, verify=_tls())

    async def _call(self, http: httpx.AsyncClient, body: Mapping[str, Any]) -> Call:
        started = monotonic()
        attempts = 0
        reply, reason = None, ""
        try:
            async with asyncio.timeout(self._ends_at - monotonic()):
                for pause_s in self._pauses():
                    await self._wait(pause_s)
                    if refusal := self._ledger.refusal_to_call(self._limits):
                        raise _GiveUp(refusal)
                    attempts += 1
                    try:
                        reply = await self._attempt(http, body)
                        reason = ""
                        break
                    except _TryAgain as again:
                        reason = str(again)
                        self._resumes_at = max(self._resumes_at, monotonic() + again.wait_s)
        except _GiveUp as end:
            reason = str(end)
        except TimeoutError:
            last = f"; the last attempt: {reason}" if reason else ""
            reason = f"the batch's deadline of {self._limits.deadline_s:g} s{last}"
        return Call(reply, reason, attempts, monotonic() - started)

    def _pauses(self) -> Iterator[float]:
        """Seconds before each attempt: none, then doubled from backoff_s, with jitter."""
        yield 0.0
        for retry in range(self._limits.attempts - 1):
            pause_s = min(self._limits.backoff_s * 2**retry, _LONGEST_BACKOFF_S)
            yield pause_s * random.uniform(0.5, 1.5)  # noqa: S311 - spreads retries, no secret

    async def _wait(self, pause_s: float) -> None:
        """Raises TimeoutError at once where the wait would end past the deadline."""
        now = monotonic()
        resumes_at = max(now + pause_s, self._resumes_at)
        if resumes_at >= self._ends_at:
            raise TimeoutError
        await asyncio.sleep(resumes_at - now)

    async def _attempt(self, http: httpx.AsyncClient, body: Mapping[str, Any]) -> Reply:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                content = await self._post(http, body)
        except TimeoutError:
            raise _TryAgain(f"no answer within {self._limits.timeout_s:g} s") from None
        except httpx.TransportError as error:
            raise _TryAgain(f"no answer: {type(error).__name__}") from None
        reply = _reply_in(content, self._key)
        reported = reply.prompt_tokens + reply.answer_tokens
        self._ledger.count_tokens(reported or _estimated_tokens(body, reply))
        return reply

    async def _post(self, http: httpx.AsyncClient, body: Mapping[str, Any]) -> bytes:
        # Not compressed: what is read is then no longer than what was received.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        content = json.dumps(body).encode("ascii")
        async with http.stream("POST", self._url, content=content, headers=headers) as response:
            _check_status(response)
            received = bytearray()
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) > _MAX_BODY_BYTES:
                    raise _GiveUp(f"the answer is longer than {_MAX_BODY_BYTES} bytes")
            return bytes(received)


def _estimated_tokens(body: Mapping[str, Any], reply: Reply) -> int:
    """About four characters each, for an endpoint that reports none: its budget ends too."""
    return (len(json.dumps(body)) + len(reply.text)) // 4


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status in _TRY_LATER or status >= 500:
        raise _TryAgain(f"HTTP status {status}", _retry_after_s(response.headers))
    if status != httpx.codes.OK:
        raise _GiveUp(f"HTTP status {status}")


def _retry_after_s(headers: httpx.Headers) -> float:
    """Seconds from now, of a Retry-After in seconds or as a date; 0 where it is neither."""
    text = headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    in_utc = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (in_utc - datetime.now(UTC)).total_seconds())


def _reply_in(content: bytes, key: str | None) -> Reply:
    """The API's answer; an endpoint that repeats the key has it taken out. Raises _GiveUp."""
    try:
        answer = json.loads(content)
        choice = answer["choices"][0]
        text = choice["message"]["content"]
        if not isinstance(text, str | None):
            raise TypeError
        usage = answer.get("usage") or {}
        return Reply(
            text=_redacted(text or "", key),
            model=_redacted(str(answer.get("model", "")), key)[:200],
            is_cut_off=choice.get("finish_reason") == "length",
            prompt_tokens=_count(usage.get("prompt_tokens")),
            answer_tokens=_count(usage.get("completion_tokens")),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise _GiveUp("the answer is not the API's") from None


def _redacted(text: str, key: str | None) -> str:
    return text.replace(key, "[key]") if key else text


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 10**9 else 0
