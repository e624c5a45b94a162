"""Differences on the same labels: verifiers, slices, windows."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.errors import BadRequestBodyError
from review.api.v1.schema import describe
from review.calibration.comparisons import (
    COMPARED,
    against_primary,
    compare_slices,
    drifts,
    rankings,
)
from review.rollouts.models import Slice
from review.rollouts.queries import slice_in_project
from review.runs.queries import run_in_project
from review.stats.comparisons import Difference, Ranked
from review.stats.drift import Slope
from review.stats.estimands import Estimand
from review.verifiers.queries import correctness_verifiers_of, late_verifiers


class DifferenceOut(msgspec.Struct):
    """The first minus the second, with one interval on the same labels."""

    estimand: str
    point: float | None
    low: float
    high: float
    n: int
    reason: str | None


class RankOut(msgspec.Struct):
    """best to worst: the ranks that the labels leave possible, all at once."""

    estimand: str
    verifier: str
    point: float | None
    best: int
    worst: int


class AgainstOut(msgspec.Struct):
    verifier: str
    differences: Annotated[
        list[DifferenceOut] | None,
        Meta(description="null: it has not judged every rollout of the audited windows"),
    ]


class SlopeOut(msgspec.Struct):
    """Per step."""

    point: float | None
    low: float | None
    high: float | None
    windows: int
    reason: str | None


class DriftOut(msgspec.Struct):
    """change: the newest window minus the first; may be read at any time."""

    estimand: str
    slope: SlopeOut
    change: DifferenceOut


class ComparisonsOut(msgspec.Struct):
    ranks: list[RankOut]
    against_primary: list[AgainstOut]
    drifts: list[DriftOut]


class Comparisons(APIView):
    scopes = {"GET": {"lead"}}

    @describe(
        "getComparisons",
        "Ranks of the run's verifiers, other verifiers against the primary one, drift over steps",
        answers={200: ComparisonsOut},
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        others = [*correctness_verifiers_of(run)[1:], *late_verifiers(run)]
        answer = ComparisonsOut(
            ranks=[
                _rank_out(estimand, name, ranked)
                for estimand, by_name in rankings(run).items()
                for name, ranked in by_name.items()
            ],
            against_primary=[
                AgainstOut(str(verifier), _differences_out(against_primary(run, verifier)))
                for verifier in others
            ],
            drifts=[
                DriftOut(drift.estimand.value, _slope_out(drift.slope), _out(drift.change))
                for drift in drifts(run)
            ],
        )
        return Response(msgspec.to_builtins(answer))


class SliceDifference(APIView):
    scopes = {"GET": {"lead"}}

    @describe(
        "compareSlices",
        "The primary verifier on one slice minus the same on another",
        answers={200: DifferenceOut},
        query={
            "estimand": (str, "recall, fpr or precision"),
            "first": (UUID, "a slice of the project"),
            "second": (UUID, "another one"),
        },
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        difference = compare_slices(
            run, _estimand(request), _slice(request, "first"), _slice(request, "second")
        )
        return Response(msgspec.to_builtins(_out(difference)))


def _estimand(request: Request) -> Estimand:
    name = request.query_params.get("estimand", "")
    known = {estimand.value: estimand for estimand in COMPARED}
    if name not in known:
        raise BadRequestBodyError(
            "There is no such estimand to compare.", fields={"estimand": " or ".join(known)}
        )
    return known[name]


def _slice(request: Request, name: str) -> Slice:
    try:
        slice_id = UUID(request.query_params.get(name, ""))
    except ValueError:
        raise BadRequestBodyError(
            "Two slices are needed.", fields={name: "the id of a slice"}
        ) from None
    return slice_in_project(token_of(request).project, slice_id)


def _rank_out(estimand: Estimand, name: str, ranked: Ranked) -> RankOut:
    return RankOut(estimand.value, name, ranked.estimate.point, ranked.best, ranked.worst)


def _differences_out(found: dict[Estimand, Difference] | None) -> list[DifferenceOut] | None:
    return None if found is None else [_out(difference) for difference in found.values()]


def _out(difference: Difference) -> DifferenceOut:
    return DifferenceOut(
        estimand=difference.estimand.value,
        point=difference.point,
        low=difference.low,
        high=difference.high,
        n=difference.n,
        reason=difference.reason,
    )


def _slope_out(slope: Slope) -> SlopeOut:
    return SlopeOut(slope.point, slope.low, slope.high, slope.windows, slope.reason)
