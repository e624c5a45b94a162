"""A reviewer's client: take an item, answer it, pass on it. The pages use the same flows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.accounts.models import User
from review.api.v1.auth import token_of
from review.api.v1.body import NoBody, decode
from review.api.v1.schema import describe
from review.core.errors import MissingError
from review.flows import labels
from review.labeling.models import Answer, Assignment, SkipReason
from review.labeling.queries import assignment_of_reviewer, item_of, queue_of_reviewer
from review.labeling.services import leases
from review.labeling.services.judgements import NewLabel
from review.labeling.services.queues import MOST_CRITERIA
from review.rollouts.queries import Step

Note = Annotated[str, Meta(max_length=10_000)]
AnswerIn = Literal["correct", "incorrect", "cannot_tell"]
CategoryIn = Literal[
    "",
    "calculation",
    "logic",
    "misread",
    "unjustified",
    "hallucinated",
    "contradiction",
    "incomplete",
    "other",
]
HackKindIn = Literal[
    "", "enumeration", "several_boxes", "tests", "judge_injection", "format_gaming", "other"
]
FaultIn = Literal["", "wrong_reference", "ambiguous", "no_answer", "several_answers", "other"]
StepNumber = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Milliseconds = Annotated[
    int, Meta(ge=0, le=2**31 - 1, description="The item was in front of the reviewer so long")
]


class LeaseOut(msgspec.Struct):
    token: UUID
    expires_at: datetime


class StepOut(msgspec.Struct):
    number: int
    id: Annotated[str, Meta(description="Outlives a new segmentation")]
    text: str


class AssignmentOut(msgspec.Struct):
    id: UUID
    lease: LeaseOut
    problem: str
    references: list[str] | None
    steps: list[StepOut]
    answer: str | None
    questions: Annotated[list[str], Meta(description="What a label may say beside the answer")]
    rubric: Annotated[list[str], Meta(description="A label's criteria are in this order")]


class TakeOut(msgspec.Struct):
    assignment: AssignmentOut


class JudgementIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is said of a rollout. What the queue does not ask is refused, unless it is not said.

    The same as not said: null, an empty text, and no hack.
    """

    answer: AnswerIn
    earliest_wrong_step: StepNumber | None = None
    no_wrong_step: bool = False
    error_category: CategoryIn = ""
    is_format_kept: bool | None = None
    is_hack: bool | None = None
    hack_kind: HackKindIn = ""
    is_hack_admitted: bool | None = None
    is_answer_supported: bool | None = None
    problem_fault: FaultIn = ""
    confidence: Literal[1, 2, 3] | None = None
    criteria: Annotated[
        list[Literal["met", "not_met", "cannot_tell"]],
        Meta(max_length=MOST_CRITERIA, description="One for each of the queue's rubric, or none"),
    ] = []


class LabelIn(JudgementIn, kw_only=True):
    token: UUID
    client_key: UUID
    note: Note = ""
    active_ms: Milliseconds | None = None


class LabelOut(msgspec.Struct):
    id: int
    is_late: bool


class HoldIn(msgspec.Struct, forbid_unknown_fields=True):
    token: UUID


class SkipIn(msgspec.Struct, forbid_unknown_fields=True):
    token: UUID
    reason: Literal["unclear", "not_my_field", "broken", "other"] = "other"
    note: Note = ""


class QueueTake(APIView):
    scopes = {"POST": {"label"}}

    @describe(
        "takeNext",
        "Lease the queue's next item; 204 when there is nothing to label now",
        answers={200: TakeOut, 204: None},
    )
    def post(self, request: Request, queue_id: UUID) -> Response:
        reviewer = reviewer_of(request)
        queue = queue_of_reviewer(reviewer, queue_id)
        if queue.project_id != token_of(request).project_id:
            raise MissingError("There is no such queue in this token's project.")
        decode(request, NoBody)
        assignment = leases.take_next(queue=queue, reviewer=reviewer)
        if assignment is None:
            return Response(status=204)
        return Response({"assignment": _assignment_out(assignment)})


class AssignmentLabel(APIView):
    scopes = {"POST": {"label"}}

    @describe(
        "commitLabel",
        "Answer an item; the same client_key again answers the stored label",
        body=LabelIn,
        answers={201: LabelOut, 200: LabelOut},
    )
    def post(self, request: Request, assignment_id: UUID) -> Response:
        body = decode(request, LabelIn)
        label, is_new = labels.commit_label(
            assignment=_assignment(request, assignment_id),
            reviewer=reviewer_of(request),
            token=body.token,
            client_key=body.client_key,
            new=new_label(body, note=body.note, active_ms=body.active_ms),
        )
        return Response({"id": label.pk, "is_late": label.is_late}, status=201 if is_new else 200)


class AssignmentSkip(APIView):
    scopes = {"POST": {"label"}}

    @describe("skipItem", "Pass on an item", body=SkipIn, answers={204: None})
    def post(self, request: Request, assignment_id: UUID) -> Response:
        body = decode(request, SkipIn)
        labels.skip_item(
            assignment=_assignment(request, assignment_id),
            reviewer=reviewer_of(request),
            token=body.token,
            reason=SkipReason(body.reason),
            note=body.note,
        )
        return Response(status=204)


class AssignmentHeartbeat(APIView):
    scopes = {"POST": {"label"}}

    @describe("extendLease", "Keep an item", body=HoldIn, answers={200: LeaseOut})
    def post(self, request: Request, assignment_id: UUID) -> Response:
        held = leases.extend_lease(
            assignment=_assignment(request, assignment_id),
            reviewer=reviewer_of(request),
            token=decode(request, HoldIn).token,
        )
        return Response(_lease_out(held))


class AssignmentRelease(APIView):
    scopes = {"POST": {"label"}}

    @describe("releaseItem", "Give an item back", body=HoldIn, answers={204: None})
    def post(self, request: Request, assignment_id: UUID) -> Response:
        leases.release_item(
            assignment=_assignment(request, assignment_id),
            reviewer=reviewer_of(request),
            token=decode(request, HoldIn).token,
        )
        return Response(status=204)


def new_label(body: JudgementIn, *, note: str = "", active_ms: int | None = None) -> NewLabel:
    return NewLabel(
        answer=Answer(body.answer),
        earliest_wrong_step=body.earliest_wrong_step,
        has_no_wrong_step=body.no_wrong_step,
        error_category=body.error_category,
        is_format_kept=body.is_format_kept,
        is_hack=body.is_hack,
        hack_kind=body.hack_kind,
        is_hack_admitted=body.is_hack_admitted,
        is_answer_supported=body.is_answer_supported,
        problem_fault=body.problem_fault,
        confidence=body.confidence,
        criteria=tuple(body.criteria),
        note=note,
        active_ms=active_ms,
    )


def reviewer_of(request: Request) -> User:
    return token_of(request).owner


def _assignment(request: Request, assignment_id: UUID) -> Assignment:
    """The item, if it is of the token's project and its owner reviews there."""
    assignment = assignment_of_reviewer(reviewer_of(request), assignment_id)
    if assignment.queue.project_id != token_of(request).project_id:
        raise MissingError("There is no such item in this token's project.")
    return assignment


def _assignment_out(assignment: Assignment) -> object:
    item = item_of(assignment)
    return {
        "id": assignment.pk,
        "lease": _lease_out(assignment),
        "problem": item.problem,
        "references": item.references,
        "steps": msgspec.to_builtins(steps_out(item.steps)),
        "answer": item.answer,
        "questions": assignment.queue.questions,
        "rubric": assignment.queue.rubric,
    }


def steps_out(steps: Sequence[Step]) -> list[StepOut]:
    return [StepOut(number=step.number, id=step.id, text=step.text) for step in steps]


def _lease_out(assignment: Assignment) -> dict[str, object]:
    return {"token": assignment.lease_token, "expires_at": assignment.lease_expires_at}
