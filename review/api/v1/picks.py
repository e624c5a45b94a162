"""Rollouts that are labelled on purpose, beside the sample."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.accounts.models import Scope
from review.api.v1.auth import token_of
from review.api.v1.body import decode
from review.api.v1.errors import BadRequestBodyError
from review.api.v1.labels import Note
from review.api.v1.schema import describe
from review.calibration.reward_queue import propose
from review.core.errors import MissingError
from review.flows import audit
from review.flows.ingest import Uid
from review.rollouts.errors import InvalidSliceError, UnknownRolloutError
from review.rollouts.queries import slice_in_project
from review.runs.models import Run
from review.sampling.models import AuditRule, PickCause
from review.sampling.queries import newest_pickable, rule_in_project

MOST_PICKS = 1000


class PickIn(msgspec.Struct, forbid_unknown_fields=True):
    cause: Annotated[
        Literal["lead", "appeal", "reward"],
        Meta(description="reward: the server chooses what is worth most to the reward"),
    ]
    rollouts: Annotated[list[Uid], Meta(min_length=1, max_length=MOST_PICKS)] | None = None
    slice: Annotated[
        UUID | None, Meta(description="Instead of rollouts: the newest n of a slice")
    ] = None
    n: (
        Annotated[int, Meta(ge=1, le=MOST_PICKS, description="With a slice, and with cause reward")]
        | None
    ) = None
    note: Note = ""


class PickOut(msgspec.Struct):
    picked: int
    left_out: Annotated[
        int, Meta(description="Drawn or picked already, purged, or in no open window")
    ]


class AuditPicks(APIView):
    scopes = {"POST": {"lead", "ingest"}}

    @describe(
        "pickRollouts",
        "Queue rollouts for a label beside the sample; with the scope ingest only as an appeal",
        body=PickIn,
        answers={200: PickOut},
    )
    def post(self, request: Request, audit_id: UUID) -> Response:
        rule = rule_in_project(token_of(request).project, audit_id)
        body = decode(request, PickIn)
        if body.cause != "appeal" and Scope.LEAD not in token_of(request).scopes:
            raise PermissionDenied("This cause needs a token with the scope lead.")
        _refuse_contradictions(body)
        rollouts = _chosen(rule, body)
        picks = audit.pick_rollouts(
            rule=rule,
            rollouts=rollouts,
            cause=PickCause(body.cause),
            note=body.note,
            actor=token_of(request),
        )
        return Response({"picked": len(picks), "left_out": len(rollouts) - len(picks)})


def _refuse_contradictions(body: PickIn) -> None:
    """Rollouts, or a slice with n, or (for the reward) n."""
    fields: dict[str, str] = {}
    wants_n = body.slice is not None or body.cause == "reward"
    if body.cause == "reward":
        given = {"rollouts": body.rollouts, "slice": body.slice}
        fields |= {name: "the server chooses" for name, value in given.items() if value is not None}
    elif body.rollouts is not None and body.slice is not None:
        fields["slice"] = "rollouts or a slice, not both"
    elif body.rollouts is None and body.slice is None:
        fields["rollouts"] = "rollouts or a slice"
    if wants_n and body.n is None:
        fields["n"] = "is required"
    if not wants_n and body.n is not None:
        fields["n"] = "only with a slice or the cause reward"
    if fields:
        raise BadRequestBodyError(fields=fields)


def _chosen(rule: AuditRule, body: PickIn) -> Sequence[int]:
    n = body.n or 0
    if body.cause == "reward":
        return propose(rule, n)
    if body.slice is not None:
        return _newest_inside(rule, body.slice, n)
    return _ids(rule.run, body.rollouts or [])


def _newest_inside(rule: AuditRule, slice_id: UUID, n: int) -> Sequence[int]:
    try:
        slice_ = slice_in_project(rule.run.project, slice_id)
        return newest_pickable(rule, slice_.conditions, n)
    except MissingError as error:
        raise BadRequestBodyError(fields={"slice": error.message}) from None
    except InvalidSliceError as error:
        raise InvalidSliceError(error.message, fields={"slice": error.message}) from None


def _ids(run: Run, uids: Sequence[str]) -> Sequence[int]:
    known = dict(run.rollouts.filter(uid__in=uids).values_list("uid", "pk"))
    for position, uid in enumerate(uids):
        if uid not in known:
            raise UnknownRolloutError(fields={f"rollouts[{position}]": uid})
    return sorted(known.values())
