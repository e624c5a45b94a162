"""Estimates and reward tables: built and published by leads, pulled by trainers."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from django.http import HttpResponse
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1 import etags
from review.api.v1.auth import token_of
from review.api.v1.body import NoBody, decode
from review.api.v1.errors import BadRequestBodyError
from review.api.v1.runs import Step
from review.api.v1.schema import describe
from review.calibration.changes import TableChanges, changes_of
from review.calibration.models import Estimate, RewardRule, RewardTable
from review.calibration.queries import (
    criteria_scorecard,
    newest_estimates,
    newest_window_estimates,
    published_table,
    scorecard,
    table_in_project,
)
from review.calibration.services import tables as services
from review.runs.models import Run
from review.runs.queries import run_in_project
from review.verifiers.queries import correctness_verifiers_of


class SliceNameOut(msgspec.Struct):
    id: UUID
    name: str


class EstimateOut(msgspec.Struct):
    """Without enough data point is null and reason says why.

    monitor: may be looked at while labels come in; worst: if every unanswered item were correct,
    or wrong.
    """

    estimand: str
    window: UUID | None
    verifier: Annotated[str, Meta(description="name@version")]
    slice: Annotated[SliceNameOut | None, Meta(description="null: every rollout")]
    policy: str | None
    criterion: Annotated[str | None, Meta(description="of a rubric; null: the whole answer")]
    point: float | None
    low: float
    high: float
    level: float
    method: str
    n: int
    n_eff: float | None
    reason: str | None
    monitor_low: float | None
    monitor_high: float | None
    worst_low: float | None
    worst_high: float | None
    unanswered_share: float
    left_out: Annotated[int, Meta(description="rollouts purged before the verifier judged them")]


class EstimateListOut(msgspec.Struct):
    estimates: list[EstimateOut]


class ScorecardOut(msgspec.Struct):
    rows: list[EstimateOut]


class TableIn(msgspec.Struct, forbid_unknown_fields=True):
    valid_from_step: Step
    valid_to_step: Step
    rule: Literal["demote_or_abstain", "posterior", "unbiased"] = "demote_or_abstain"
    abstain_over_half: bool = False


class TableOut(msgspec.Struct):
    """changes: tried on stored groups when it was built; null of a table from before that was
    done."""

    id: UUID
    version: int
    state: str
    rule: str
    valid_from_step: int
    valid_to_step: int
    labels: int
    preview: dict[str, Any]
    changes: TableChanges | None
    published_at: datetime | None


class EstimateList(APIView):
    scopes = {"GET": {"lead"}}

    @describe(
        "listEstimates",
        "The newest estimates of the run and of each of its windows",
        answers={200: EstimateListOut},
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        rows = [*newest_estimates(run).values(), *newest_window_estimates(run)]
        return Response({"estimates": _estimates_out(run, rows)})


class Scorecard(APIView):
    scopes = {"GET": {"lead"}}

    @describe(
        "getScorecard",
        "The newest estimates of every verifier on every slice and on every criterion of its"
        " rubric, over all the run's windows",
        answers={200: ScorecardOut},
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        return Response({"rows": _estimates_out(run, [*scorecard(run), *criteria_scorecard(run)])})


class TableBuild(APIView):
    scopes = {"POST": {"lead"}}

    @describe(
        "buildRewardTable",
        "Build a reward table from the labels so far; a draft until it is published",
        body=TableIn,
        answers={201: TableOut},
    )
    def post(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        body = decode(request, TableIn)
        table = services.build_table(
            run=run,
            rule=RewardRule(body.rule),
            valid_from_step=body.valid_from_step,
            valid_to_step=body.valid_to_step,
            abstain_over_half=body.abstain_over_half,
            actor=token_of(request),
        )
        return Response(_table_out(table), status=201)


class TableDetail(APIView):
    scopes = {"GET": {"lead"}}

    @describe(
        "previewRewardTable",
        "What a reward table would change under each loss, before it is published",
        answers={200: TableOut},
    )
    def get(self, request: Request, table_id: UUID) -> Response:
        return Response(_table_out(table_in_project(token_of(request).project, table_id)))


class TablePublish(APIView):
    scopes = {"POST": {"lead"}}

    @describe("publishRewardTable", "Give it to the trainers", answers={200: TableOut})
    def post(self, request: Request, table_id: UUID) -> Response:
        table = table_in_project(token_of(request).project, table_id)
        decode(request, NoBody)
        table = services.publish_table(table=table, actor=token_of(request))
        return Response(_table_out(table))


class TableCurrent(APIView):
    scopes = {"GET": {"table"}}

    @describe(
        "getRewardTable",
        "The newest published reward table, or a pinned version; with ETag, 304 when unchanged",
        answers={200: dict[str, Any], 304: None},
        query={"version": (int, "a published version; else the newest")},
    )
    def get(self, request: Request, run_id: UUID) -> HttpResponse:
        run = run_in_project(token_of(request).project, run_id)
        table = published_table(run, _version(request))
        etag = f'"{table.digest}"'
        if etags.is_known(request, etag):
            return HttpResponse(status=304, headers=etags.headers(etag))
        return HttpResponse(
            table.body,
            content_type="application/json",
            headers=etags.headers(etag) | {"X-Assay-Table-Version": str(table.version)},
        )


def _version(request: Request) -> int | None:
    text = request.query_params.get("version")
    if text is None:
        return None
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise BadRequestBodyError(
            "A version is a whole number.", fields={"version": "1 to 999999999"}
        )
    return int(text)


def _estimates_out(run: Run, rows: Sequence[Estimate]) -> list[object]:
    primary = str(correctness_verifiers_of(run)[0])
    return [msgspec.to_builtins(_estimate_out(row, primary)) for row in rows]


def _estimate_out(row: Estimate, primary: str) -> EstimateOut:
    return EstimateOut(
        estimand=row.estimand,
        window=row.window_id,
        verifier=str(row.verifier) if row.verifier else primary,
        slice=SliceNameOut(row.slice.pk, row.slice.name) if row.slice else None,
        policy=row.policy.uid if row.policy else None,
        criterion=row.criterion or None,
        point=row.point,
        low=row.low,
        high=row.high,
        level=row.level,
        method=row.method,
        n=row.labels,
        n_eff=row.effective_labels,
        reason=row.reason or None,
        monitor_low=row.monitor_low,
        monitor_high=row.monitor_high,
        worst_low=row.worst_low,
        worst_high=row.worst_high,
        unanswered_share=row.unanswered_share,
        left_out=row.left_out,
    )


def _table_out(table: RewardTable) -> object:
    return msgspec.to_builtins(
        TableOut(
            id=table.pk,
            version=table.version,
            state="published" if table.is_published else "draft",
            rule=table.rule,
            valid_from_step=table.valid_from_step,
            valid_to_step=table.valid_to_step,
            labels=table.labels,
            preview={name: said for name, said in table.preview.items() if name != "changes"},
            changes=changes_of(table),
            published_at=table.published_at,
        )
    )
