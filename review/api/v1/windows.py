"""A window of an audit: ended early, or its open wave given up."""

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.audits import AuditOut, audit_answer
from review.api.v1.auth import token_of
from review.api.v1.body import NoBody, decode
from review.api.v1.schema import describe
from review.flows import audit
from review.sampling.errors import RuleStateError
from review.sampling.models import WindowState
from review.sampling.queries import open_wave, window_in_project


class WindowEnd(APIView):
    scopes = {"POST": {"lead"}}

    @describe(
        "endWindow",
        "Close a window before its budget is used up; its open wave is cancelled",
        answers={200: AuditOut},
    )
    def post(self, request: Request, window_id: UUID) -> Response:
        window = window_in_project(token_of(request).project, window_id)
        decode(request, NoBody)
        if window.state != WindowState.OPEN:
            raise RuleStateError(f"This window is not open: it is {window.state}.")
        audit.end_window(window=window, actor=token_of(request))
        return audit_answer(request, window.rule_id)


class WaveCancel(APIView):
    scopes = {"POST": {"lead"}}

    @describe(
        "cancelWave",
        "Give up a window's open wave: what is answered stays known, the rest can be drawn again",
        answers={200: AuditOut},
    )
    def post(self, request: Request, window_id: UUID) -> Response:
        window = window_in_project(token_of(request).project, window_id)
        decode(request, NoBody)
        wave = open_wave(window)
        if wave is None:
            raise RuleStateError("This window has no open wave.")
        audit.cancel_wave(wave=wave, actor=token_of(request))
        return audit_answer(request, window.rule_id)
