"""The server's API, one typed method per call: trainer, lead and reviewer side."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import httpx

from trainer.wire import (
    Assignment,
    Audit,
    AuditPayload,
    EstimateAnswer,
    LabelPayload,
    LabelReceipt,
    PromptPayload,
    RolloutPayload,
    RunPayload,
    RunStatus,
    Signal,
    TableAnswer,
    TableDraft,
)

_API = "/api/v1"
# The server asks for patience, whatever the request says.
_TRY_LATER = frozenset({408, 425, 429})

_Parsed = TypeVar("_Parsed")


class AssayError(Exception):
    """The server refused the request (4xx): sending it again changes nothing.

    status: of HTTP, None when there was no answer; code, message, fields: the API's own words.
    """

    def __init__(
        self, status: int | None, code: str, message: str, fields: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{status or 'no answer'} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.fields = dict(fields or {})


class AssayUnavailable(AssayError):  # noqa: N818 - the API's word; it is an AssayError
    """No answer, an answer that is not the API's, 5xx or "later" (408, 425, 429): try again."""


class NoRewardTable(AssayError):  # noqa: N818 - a normal state of a young run
    """No reward table of this run is published yet."""


@dataclass(frozen=True, slots=True)
class Call(Generic[_Parsed]):
    """A call that sends a body. path: "{run}" in it stands for the run's id.

    parse: reads the answer's JSON; what it cannot read is no answer of the API.
    """

    method: str
    path: str
    parse: Callable[[Any], _Parsed]


def _object(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, dict):
        raise TypeError("not an object")
    return answer


REGISTER_RUN = Call("POST", "/runs", lambda answer: str(answer["id"]))
UPDATE_RUN = Call("PATCH", "/runs/{run}", _object)
SEND_PROMPTS = Call("POST", "/runs/{run}/prompts", lambda answer: int(answer["received"]))
SEND_ROLLOUTS = Call("POST", "/runs/{run}/rollouts", lambda answer: int(answer["received"]))


def json_text(body: Mapping[str, Any]) -> str:
    """A body as JSON in ASCII. Raises ValueError for NaN and infinities."""
    return json.dumps(body, allow_nan=False, separators=(",", ":"))


def encoded(text: str) -> bytes:
    """A JSON text as it travels and is spooled: gzipped."""
    return gzip.compress(text.encode("ascii"), compresslevel=5, mtime=0)


class AssayClient:
    """A connection to one server with one token; threads may share it.

    Every method raises AssayUnavailable when it is worth trying again and AssayError for a
    refusal. The token appears in no log, representation or exception.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0) -> None:
        """timeout_s: for connecting and for each read.

        Raises ValueError for a token that no header can hold and for a URL that is not HTTP's.
        """
        # An unusable header value would be quoted, token and all, by the layers below.
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("the token is empty or has characters that no token has")
        if not url.startswith(("http://", "https://")):
            raise ValueError("the server's URL must start with http:// or https://")
        self._token = token
        self._http = httpx.Client(
            base_url=url.rstrip("/") + _API,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # Trainer: scopes "ingest" and "table"

    def register_run(self, run: RunPayload) -> str:
        """Register the run, or find it by its uid; answers its id."""
        return self.send_encoded(REGISTER_RUN, encoded(json_text(run.to_json())))

    def send_prompts(self, run: str, prompts: Sequence[PromptPayload]) -> int:
        """Send prompts; answers how many the server has received. Sending twice stores once."""
        body = {"prompts": [prompt.to_json() for prompt in prompts]}
        return self.send_encoded(SEND_PROMPTS, encoded(json_text(body)), run=run)

    def send_rollouts(self, run: str, rollouts: Sequence[RolloutPayload]) -> int:
        """Send rollouts, a group whole; answers the number received. Sending twice stores once."""
        body = {"rollouts": [rollout.to_json() for rollout in rollouts]}
        return self.send_encoded(SEND_ROLLOUTS, encoded(json_text(body)), run=run)

    def complete_step(self, run: str, step: int) -> None:
        """Say that every rollout of the steps up to this one has been sent."""
        self.send_encoded(UPDATE_RUN, encoded(json_text({"completed_step": step})), run=run)

    def finish_run(self, run: str, status: RunStatus) -> None:
        """Say that the run has ended."""
        self.send_encoded(UPDATE_RUN, encoded(json_text({"status": status})), run=run)

    def run(self, run: str) -> Mapping[str, Any]:
        """The run as the server describes it."""
        return self._get(f"/runs/{run}", _object)

    def reward_table(
        self,
        run: str,
        *,
        etag: str | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> TableAnswer:
        """The run's reward table, the current one or this version; with the ETag of the one at
        hand its text is None while there is no newer. Raises NoRewardTable."""
        response = self._request(
            "GET",
            f"/runs/{run}/reward-table",
            headers={"If-None-Match": etag} if etag else {},
            params={} if version is None else {"version": version},
            timeout=self._http.timeout if timeout_s is None else timeout_s,
        )
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return TableAnswer(text=None, etag=etag, version=None)
        found = self._parsed(response, lambda answer: int(answer["version"]))
        return TableAnswer(text=response.text, etag=response.headers.get("ETag"), version=found)

    def query_rewards(
        self, run: str, body: Mapping[str, Any], *, domain: str = "general"
    ) -> Mapping[str, Any]:
        """What the server pays for OpenRLHF's query, prompts and labels, in OpenRLHF's words."""
        response = self._request(
            "POST",
            f"/runs/{run}/rewards",
            content=encoded(json_text(body)),
            params={"domain": domain},
        )
        return self._parsed(response, _object)

    def signal(
        self, run: str, *, etag: str | None = None, timeout_s: float | None = None
    ) -> Signal:
        """Whether reward still means correctness in the run; with the ETag of the signal at hand
        its state is None while there is no newer."""
        response = self._request(
            "GET",
            f"/runs/{run}/signal",
            headers={"If-None-Match": etag} if etag else {},
            timeout=self._http.timeout if timeout_s is None else timeout_s,
        )
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return Signal(state=None, reasons=(), at=None, etag=etag)
        found = response.headers.get("ETag")
        return self._parsed(response, lambda answer: Signal.from_json(answer, etag=found))

    # Lead: scope "lead"

    def create_audit(self, run: str, audit: AuditPayload) -> Audit:
        """Create an audit of the run, as a draft."""
        return self._post(f"/runs/{run}/audits", audit.to_json(), Audit.from_json)

    def start_audit(self, audit: str) -> None:
        """Start a draft audit."""
        self._post(f"/audits/{audit}/start", {}, _anything)

    def audit(self, audit: str) -> Audit:
        """The audit with its windows and waves."""
        return self._get(f"/audits/{audit}", Audit.from_json)

    def estimates(self, run: str) -> list[EstimateAnswer]:
        """The run's estimates with their intervals."""
        return self._get(
            f"/runs/{run}/estimates",
            lambda answer: list(map(EstimateAnswer.from_json, answer["estimates"])),
        )

    def build_table(
        self, run: str, *, rule: str, valid_from_step: int, valid_to_step: int
    ) -> TableDraft:
        """Build a reward table from the labels so far; it is a draft until it is published."""
        body = {"rule": rule, "valid_from_step": valid_from_step, "valid_to_step": valid_to_step}
        return self._post(f"/runs/{run}/reward-tables", body, TableDraft.from_json)

    def publish_table(self, table: str) -> None:
        """Publish a draft table: the trainer's next pull gets it."""
        self._post(f"/reward-tables/{table}/publish", {}, _anything)

    # Reviewer: scope "label"

    def take(self, queue: str) -> Assignment | None:
        """The next rollout to label, under a lease; None when there is nothing now."""
        response = self._request("POST", f"/queues/{queue}/take", content=encoded("{}"))
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        return self._parsed(response, lambda answer: Assignment.from_json(answer["assignment"]))

    def label(self, assignment: Assignment, label: LabelPayload) -> LabelReceipt:
        """Commit a label; the same client_key again answers the same label."""
        body = {"token": assignment.token, **label.to_json()}
        return self._post(
            f"/assignments/{assignment.id}/label",
            body,
            lambda answer: LabelReceipt(str(answer["id"]), bool(answer["is_late"])),
        )

    def skip(self, assignment: Assignment, *, reason: str) -> None:
        """Give the assignment back unlabelled, saying why."""
        body = {"token": assignment.token, "reason": reason}
        self._post(f"/assignments/{assignment.id}/skip", body, _anything)

    def heartbeat(self, assignment: Assignment) -> None:
        """Prolong the lease."""
        body = {"token": assignment.token}
        self._post(f"/assignments/{assignment.id}/heartbeat", body, _anything)

    def release(self, assignment: Assignment) -> None:
        """Give the assignment back for someone else."""
        body = {"token": assignment.token}
        self._post(f"/assignments/{assignment.id}/release", body, _anything)

    # Transport

    def send_encoded(self, call: Call[_Parsed], body: bytes, *, run: str = "") -> _Parsed:
        """Make the call with a body made by `encoded`."""
        response = self._request(call.method, call.path.format(run=run), content=body)
        return self._parsed(response, call.parse)

    def _post(self, path: str, body: Mapping[str, Any], parse: Callable[[Any], _Parsed]) -> _Parsed:
        return self._parsed(self._request("POST", path, content=encoded(json_text(body))), parse)

    def _get(self, path: str, parse: Callable[[Any], _Parsed]) -> _Parsed:
        return self._parsed(self._request("GET", path), parse)

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = options.pop("headers", {})
        if "content" in options:
            headers = headers | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        try:
            response = self._http.request(method, path, headers=headers, **options)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise AssayUnavailable(None, "no_answer", self._redacted(repr(error))) from None
        if not response.is_success and response.status_code != httpx.codes.NOT_MODIFIED:
            raise self._refusal(response)
        return response

    def _parsed(self, response: httpx.Response, parse: Callable[[Any], _Parsed]) -> _Parsed:
        try:
            return parse(None if not response.content else response.json())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            message = f"the answer is not the API's ({type(error).__name__})"
            raise AssayUnavailable(response.status_code, "bad_answer", message) from None

    def _refusal(self, response: httpx.Response) -> AssayError:
        error = _error_of(self._redacted(response.text))
        status = response.status_code
        code = str(error.get("code", "unknown"))
        message = str(error.get("message", response.reason_phrase))
        fields = error.get("fields")
        fields = fields if isinstance(fields, dict) else {}
        if status in _TRY_LATER or not response.is_client_error:
            return AssayUnavailable(status, code, message, fields)
        kind = NoRewardTable if code == "no_reward_table" else AssayError
        return kind(status, code, message, fields)

    def _redacted(self, text: str) -> str:
        return text.replace(self._token, "[token]")


def _error_of(text: str) -> Mapping[str, Any]:
    try:
        error = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {}


def _anything(answer: Any) -> None:
    return None
