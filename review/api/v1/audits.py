"""Audits with their windows and waves: from draft to end."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

import msgspec
from django.db.models import prefetch_related_objects
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import NoBody, decode
from review.api.v1.rules import (
    AuditChange,
    AuditIn,
    SettingsOut,
    changed_settings,
    new_rule,
    refused_in_words_of_the_call,
    settings_out,
)
from review.api.v1.schema import describe
from review.flows import audit
from review.labeling.oversight import Reviews, reviews_by_wave
from review.runs.queries import run_in_project
from review.sampling.models import AuditRule, RuleVersion, Wave, Window
from review.sampling.queries import rule_in_project, rules_of, versions_of
from review.sampling.services.rules import settings_of


class WaveOut(msgspec.Struct):
    number: int
    version: int
    state: str
    planned: int
    labelled: int
    skipped: int
    second_reviews_pending: int


class WindowOut(msgspec.Struct):
    id: UUID
    first_step: int
    last_step: int
    state: str
    is_ended_early: bool
    frame_size: int | None
    waves: list[WaveOut]


class AuditOut(SettingsOut, kw_only=True):
    id: UUID
    name: str
    queue: UUID
    state: str
    first_step: int
    window_steps: int
    version: int
    windows: list[WindowOut]


class AuditListOut(msgspec.Struct):
    audits: list[AuditOut]


class VersionOut(SettingsOut, kw_only=True):
    number: int
    created_by: str
    created_at: datetime


class VersionListOut(msgspec.Struct):
    versions: list[VersionOut]


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
        with refused_in_words_of_the_call():
            rule = audit.create_audit(run=run, new=new_rule(run, body), actor=token_of(request))
        return Response(_audits_out([rule])[0], status=201)


class AuditDetail(APIView):
    scopes = {"GET": {"lead"}, "PATCH": {"lead"}}

    @describe("getAudit", "An audit with its windows and waves", answers={200: AuditOut})
    def get(self, request: Request, audit_id: UUID) -> Response:
        return audit_answer(request, audit_id)

    @describe(
        "changeAudit",
        "Change what is given; a change is a new version, which the next wave follows, and windows"
        " that are still collecting",
        body=AuditChange,
        answers={200: AuditOut},
    )
    def patch(self, request: Request, audit_id: UUID) -> Response:
        rule = rule_in_project(token_of(request).project, audit_id)
        body = decode(request, AuditChange)
        version = rule.current
        settings = settings_of(version)
        with refused_in_words_of_the_call():
            changed = changed_settings(rule.run, settings, body)
            # The same request again changes nothing more.
            if changed != settings:
                audit.change_audit(
                    rule=rule,
                    settings=changed,
                    actor=token_of(request),
                    based_on=version.number,
                )
        return audit_answer(request, audit_id)


class AuditVersions(APIView):
    scopes = {"GET": {"lead"}}

    @describe(
        "listAuditVersions",
        "The versions of an audit's settings, the newest first",
        answers={200: VersionListOut},
    )
    def get(self, request: Request, audit_id: UUID) -> Response:
        rule = rule_in_project(token_of(request).project, audit_id)
        return Response({"versions": [_version_out(row) for row in versions_of(rule)]})


class AuditStart(APIView):
    scopes = {"POST": {"lead"}}

    @describe("startAudit", "Start it: its windows are drawn from now on", answers={200: AuditOut})
    def post(self, request: Request, audit_id: UUID) -> Response:
        rule = rule_in_project(token_of(request).project, audit_id)
        decode(request, NoBody)
        audit.start_audit(rule=rule, actor=token_of(request))
        return audit_answer(request, audit_id)


class AuditEnd(APIView):
    scopes = {"POST": {"lead"}}

    @describe(
        "endAudit",
        "End it: no further window or wave; open waves are cancelled, estimates stay",
        answers={200: AuditOut},
    )
    def post(self, request: Request, audit_id: UUID) -> Response:
        rule = rule_in_project(token_of(request).project, audit_id)
        decode(request, NoBody)
        audit.end_audit(rule=rule, actor=token_of(request))
        return audit_answer(request, audit_id)


def audit_answer(request: Request, audit_id: UUID) -> Response:
    """The audit as it is now."""
    return Response(_audits_out([rule_in_project(token_of(request).project, audit_id)])[0])


def _audits_out(rules: Iterable[AuditRule]) -> list[object]:
    """The rules with their windows and waves, in as many queries for many as for one."""
    rules = list(rules)
    prefetch_related_objects(
        rules,
        *("windows__waves__version", "versions__verifiers__verifier", "versions__slices"),
        "versions__reviewers",
    )
    waves = [wave for rule in rules for window in rule.windows.all() for wave in window.waves.all()]
    reviews = reviews_by_wave(waves)
    shown = {wave.pk: _wave_out(wave, reviews[wave.pk]) for wave in waves}
    return [msgspec.to_builtins(_audit_out(rule, shown)) for rule in rules]


def _audit_out(rule: AuditRule, waves: dict[int, WaveOut]) -> AuditOut:
    version = rule.current
    return AuditOut(
        id=rule.pk,
        name=rule.name,
        queue=rule.queue.pk,
        state=rule.state,
        first_step=rule.first_step,
        window_steps=rule.window_steps,
        version=version.number,
        windows=[_window_out(window, waves) for window in rule.windows.all()],
        **settings_out(version),
    )


def _window_out(window: Window, waves: dict[int, WaveOut]) -> WindowOut:
    return WindowOut(
        id=window.pk,
        first_step=window.first_step,
        last_step=window.last_step,
        state=window.state,
        is_ended_early=window.is_ended_early,
        frame_size=window.frame_size,
        waves=[waves[wave.pk] for wave in window.waves.all()],
    )


def _wave_out(wave: Wave, reviews: Mapping[str, Reviews]) -> WaveOut:
    return WaveOut(
        number=wave.number,
        version=wave.version.number,
        state=wave.state,
        planned=wave.planned,
        labelled=reviews["first"].done,
        skipped=reviews["first"].skipped,
        second_reviews_pending=reviews["second"].waiting + reviews["third"].waiting,
    )


def _version_out(version: RuleVersion) -> object:
    return msgspec.to_builtins(
        VersionOut(
            number=version.number,
            created_by=version.created_by,
            created_at=version.created_at,
            **settings_out(version),
        )
    )
