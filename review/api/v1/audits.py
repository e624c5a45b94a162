"""Audit rules with their windows and waves."""

from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import msgspec
from django.db.models import prefetch_related_objects
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import NoBody, decode
from review.api.v1.errors import BadRequestBodyError
from review.api.v1.runs import Name, Step
from review.api.v1.schema import describe
from review.flows import audit
from review.labeling.models import AssignmentState
from review.labeling.queries import labels_by_wave
from review.runs.queries import run_in_project
from review.sampling.models import AuditRule, Wave, Window
from review.sampling.queries import rule_in_project, rules_of
from review.sampling.services import NewRule
from review.stats.design import Focus

Weight = Annotated[float, Meta(ge=0, le=1000)]


class FocusIn(msgspec.Struct, forbid_unknown_fields=True):
    recall: Weight = 1.0
    fpr: Weight = 1.0
    accuracy: Weight = 1.0
    hack_rate: Weight = 1.0


class AuditIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    first_step: Step
    window_steps: Annotated[int, Meta(ge=1, le=1_000_000)]
    budget: Annotated[int, Meta(ge=1, le=1_000_000)]
    last_step: Step | None = None
    waves: Annotated[int, Meta(ge=1, le=50)] = 4
    focus: FocusIn = msgspec.field(default_factory=FocusIn)
    shows_reference: bool = True


class WaveOut(msgspec.Struct):
    number: int
    state: str
    planned: int
    labelled: int
    skipped: int


class WindowOut(msgspec.Struct):
    id: UUID
    first_step: int
    last_step: int
    state: str
    frame_size: int | None
    waves: list[WaveOut]


class AuditOut(msgspec.Struct):
    id: UUID
    name: str
    queue: UUID
    state: str
    budget: int
    windows: list[WindowOut]


class AuditListOut(msgspec.Struct):
    audits: list[AuditOut]


class AuditList(APIView):
    scopes = {"GET": {"lead"}, "POST": {"lead"}}

    @describe("listAudits", "The audits of a run", answers={200: AuditListOut})
    def get(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        return Response({"audits": _audits_out(rules_of(run))})

    @describe("createAudit", "Write an audit rule", body=AuditIn, answers={201: AuditOut})
    def post(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        body = decode(request, AuditIn)
        rule = audit.create_audit(
            run=run,
            new=audit.NewAudit(rule=_new_rule(body), shows_reference=body.shows_reference),
            actor=token_of(request),
        )
        return Response(_audits_out([rule])[0], status=201)


class AuditDetail(APIView):
    scopes = {"GET": {"lead"}}

    @describe("getAudit", "An audit with its windows and waves", answers={200: AuditOut})
    def get(self, request: Request, audit_id: UUID) -> Response:
        return Response(_audits_out([rule_in_project(token_of(request).project, audit_id)])[0])


class AuditStart(APIView):
    scopes = {"POST": {"lead"}}

    @describe("startAudit", "Start it: its windows are drawn from now on", answers={200: AuditOut})
    def post(self, request: Request, audit_id: UUID) -> Response:
        rule = rule_in_project(token_of(request).project, audit_id)
        decode(request, NoBody)
        audit.start_audit(rule=rule, actor=token_of(request))
        return Response(_audits_out([rule_in_project(token_of(request).project, audit_id)])[0])


def _new_rule(body: AuditIn) -> NewRule:
    try:
        focus = Focus(**msgspec.structs.asdict(body.focus))
    except ValueError as error:
        raise BadRequestBodyError(fields={"focus": str(error)}) from None
    return NewRule(
        name=body.name,
        first_step=body.first_step,
        last_step=body.last_step,
        window_steps=body.window_steps,
        budget=body.budget,
        waves=body.waves,
        focus=focus,
    )


def _audits_out(rules: Iterable[AuditRule]) -> list[object]:
    """The rules with their windows and waves, in as many queries for many as for one."""
    rules = list(rules)
    prefetch_related_objects(rules, "windows__waves")
    windows = [window for rule in rules for window in rule.windows.all()]
    counts = labels_by_wave([wave for window in windows for wave in window.waves.all()])
    return [msgspec.to_builtins(_audit_out(rule, counts)) for rule in rules]


def _audit_out(rule: AuditRule, counts: dict[int, dict[str, int]]) -> AuditOut:
    return AuditOut(
        id=rule.pk,
        name=rule.name,
        queue=rule.queue.pk,
        state=rule.state,
        budget=rule.budget,
        windows=[_window_out(window, counts) for window in rule.windows.all()],
    )


def _window_out(window: Window, counts: dict[int, dict[str, int]]) -> WindowOut:
    return WindowOut(
        id=window.pk,
        first_step=window.first_step,
        last_step=window.last_step,
        state=window.state,
        frame_size=window.frame_size,
        waves=[_wave_out(wave, counts[wave.pk]) for wave in window.waves.all()],
    )


def _wave_out(wave: Wave, counts: dict[str, int]) -> WaveOut:
    return WaveOut(
        number=wave.number,
        state=wave.state,
        planned=wave.planned,
        labelled=counts.get(AssignmentState.DONE, 0),
        skipped=counts.get(AssignmentState.SKIPPED, 0),
    )
