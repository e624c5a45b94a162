"""The signal to a trainer: does reward still mean correctness?"""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1 import etags
from review.api.v1.auth import token_of
from review.api.v1.schema import describe
from review.calibration.models import Signal
from review.calibration.queries import newest_signal
from review.runs.queries import run_in_project

State = Literal["ok", "watch", "hold"]


class ReasonOut(msgspec.Struct):
    code: str
    state: State
    text: str


class SignalOut(msgspec.Struct):
    state: State
    reasons: list[ReasonOut]
    at: datetime | None


NOTHING_AUDITED = SignalOut(
    state="watch",
    reasons=[ReasonOut("nothing_audited", "watch", "Nothing of this run is audited yet.")],
    at=None,
)


class RunSignal(APIView):
    scopes = {"GET": {"table", "lead"}}

    @describe(
        "getSignal",
        "hold: stop and look; watch: look soon; with the reasons, the gravest first; "
        "with ETag, 304 when unchanged",
        answers={200: SignalOut, 304: None},
    )
    def get(self, request: Request, run_id: UUID) -> HttpResponse:
        run = run_in_project(token_of(request).project, run_id)
        signal = newest_signal(run)
        # A signal does not change: news is a new one.
        etag = f'"{signal.pk if signal else "none"}"'
        if etags.is_known(request, etag):
            return HttpResponse(status=304, headers=etags.headers(etag))
        answer = _signal_out(signal) if signal else NOTHING_AUDITED
        return Response(msgspec.to_builtins(answer), headers=etags.headers(etag))


def _signal_out(signal: Signal) -> SignalOut:
    stored = {"state": signal.state, "reasons": signal.reasons, "at": signal.created_at}
    return msgspec.convert(stored, SignalOut)
