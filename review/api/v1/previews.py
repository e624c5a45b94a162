"""What an audit would cost and tell, before it is written."""

from collections.abc import Mapping
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import decode
from review.api.v1.rules import AuditIn, new_rule, refused_in_words_of_the_call
from review.api.v1.schema import describe
from review.flows.preview import Outlook, Preview, preview_audit
from review.runs.queries import run_in_project
from review.stats.estimands import Estimand
from review.stats.preview import ExpectedInterval


class ExpectedOut(msgspec.Struct):
    """n: expected labels. Without enough of them point is null and reason says why."""

    point: float | None
    low: float
    high: float
    n: float
    reason: str | None


Intervals = Annotated[dict[str, ExpectedOut], Meta(description="By estimand")]


class SliceOutlookOut(msgspec.Struct):
    slice: UUID
    name: str
    intervals: Intervals


class OutlookOut(msgspec.Struct):
    budget: Annotated[Literal["half", "all", "double"], Meta(description="Of the rule's budget")]
    labels: int
    second_reviews: float
    gold: int
    hours: float
    intervals: Intervals
    slices: list[SliceOutlookOut]


class PreviewOut(msgspec.Struct):
    first_step: int
    last_step: int
    is_stand_in: Annotated[
        bool, Meta(description="The steps are not in yet: the run's newest ones stand for them")
    ]
    frame_size: int
    cells: int
    strata: int
    seconds_per_label: float
    is_pace_measured: bool
    outlooks: list[OutlookOut]


class AuditPreview(APIView):
    scopes = {"POST": {"lead"}}

    @describe(
        "previewAudit",
        "What half, all and double of an audit's budget would give; nothing is stored",
        body=AuditIn,
        answers={200: PreviewOut},
    )
    def post(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        body = decode(request, AuditIn)
        with refused_in_words_of_the_call():
            new = new_rule(run, body)
            preview = preview_audit(run=run, new=new)
        ids = {part.name: part.pk for part in new.settings.slices}
        return Response(msgspec.to_builtins(_preview_out(preview, ids)))


def _preview_out(preview: Preview, slices: Mapping[str, UUID]) -> PreviewOut:
    half, whole, double = preview.outlooks
    return PreviewOut(
        first_step=preview.first_step,
        last_step=preview.last_step,
        is_stand_in=preview.is_stand_in,
        frame_size=preview.frame_size,
        cells=preview.cells,
        strata=preview.strata,
        seconds_per_label=preview.seconds_per_label,
        is_pace_measured=preview.is_pace_measured,
        outlooks=[
            _outlook_out("half", half, slices),
            _outlook_out("all", whole, slices),
            _outlook_out("double", double, slices),
        ],
    )


def _outlook_out(
    budget: Literal["half", "all", "double"], outlook: Outlook, slices: Mapping[str, UUID]
) -> OutlookOut:
    return OutlookOut(
        budget=budget,
        labels=outlook.labels,
        second_reviews=outlook.second_reviews,
        gold=outlook.gold,
        hours=outlook.hours,
        intervals=_intervals_out(outlook.intervals),
        slices=[
            SliceOutlookOut(slice=slices[name], name=name, intervals=_intervals_out(intervals))
            for name, intervals in outlook.slices.items()
        ],
    )


def _intervals_out(intervals: Mapping[Estimand, ExpectedInterval]) -> dict[str, ExpectedOut]:
    return {
        estimand.value: ExpectedOut(
            point=interval.point,
            low=interval.low,
            high=interval.high,
            n=interval.n,
            reason=interval.reason,
        )
        for estimand, interval in intervals.items()
    }
