"""Labels that disagree, and who settles them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import decode
from review.api.v1.labels import JudgementIn, StepOut, new_label, steps_out
from review.api.v1.schema import describe
from review.flows import labels
from review.flows.ingest import Uid
from review.labeling.disagreements import Disagreement, oldest_disagreements
from review.labeling.models import Adjudication, Judgement, Label
from review.rollouts.errors import UnknownRolloutError
from review.rollouts.models import Rollout
from review.runs.models import Run
from review.sampling.queries import rule_in_project

# The oldest come first: the others follow when these are settled.
MOST_SHOWN = 100


class JudgementOut(msgspec.Struct, kw_only=True):
    """null, an empty text, no criteria: not asked, or not said."""

    answer: str
    step_id: str
    earliest_wrong_step: int | None
    no_wrong_step: bool
    error_category: str
    is_format_kept: bool | None
    is_hack: bool | None
    hack_kind: str
    is_hack_admitted: bool | None
    is_answer_supported: bool | None
    problem_fault: str
    confidence: int | None
    criteria: list[str]


class ReviewOut(JudgementOut, kw_only=True):
    reviewer: str
    note: str
    at: datetime


class DisagreementOut(msgspec.Struct):
    """What the reviewers saw and what they said."""

    rollout: str
    problem: str
    references: list[str] | None
    steps: list[StepOut]
    answer: str | None
    labels: list[ReviewOut]
    awaits_review: Annotated[bool, Meta(description="A further review is still to come")]


class DisagreementListOut(msgspec.Struct):
    total: int
    disagreements: Annotated[
        list[DisagreementOut], Meta(description=f"The first {MOST_SHOWN} of the total")
    ]


class AdjudicationIn(JudgementIn, kw_only=True):
    rollout: Uid
    reason: Annotated[str, Meta(min_length=1, max_length=10_000)]


class AdjudicationOut(JudgementOut, kw_only=True):
    id: int
    rollout: str
    reason: str
    decided_by: str
    at: datetime


class AuditDisagreements(APIView):
    scopes = {"GET": {"lead"}}

    @describe(
        "listDisagreements",
        "Rollouts whose labels are at odds and that nobody has settled, the oldest first",
        answers={200: DisagreementListOut},
    )
    def get(self, request: Request, audit_id: UUID) -> Response:
        queue = rule_in_project(token_of(request).project, audit_id).queue
        total, oldest = oldest_disagreements(queue, most=MOST_SHOWN)
        shown = [_disagreement_out(part) for part in oldest]
        return Response(msgspec.to_builtins(DisagreementListOut(total, shown)))


class AuditAdjudications(APIView):
    scopes = {"POST": {"lead"}}

    @describe(
        "adjudicate",
        "Settle labels that disagree, as the token's owner, who wrote none of them",
        body=AdjudicationIn,
        answers={201: AdjudicationOut},
    )
    def post(self, request: Request, audit_id: UUID) -> Response:
        rule = rule_in_project(token_of(request).project, audit_id)
        body = decode(request, AdjudicationIn)
        decision = labels.adjudicate(
            queue=rule.queue,
            rollout=_rollout(rule.run, body.rollout),
            decided_by=token_of(request).owner,
            new=new_label(body),
            reason=body.reason,
        )
        return Response(_adjudication_out(decision), status=201)


def _rollout(run: Run, uid: str) -> Rollout:
    rollout = run.rollouts.filter(uid=uid).first()
    if rollout is None:
        raise UnknownRolloutError(fields={"rollout": uid})
    return rollout


def _disagreement_out(part: Disagreement) -> DisagreementOut:
    item = part.item
    return DisagreementOut(
        rollout=item.assignment.rollout.uid,
        problem=item.problem,
        references=item.references,
        steps=steps_out(item.steps),
        answer=item.answer,
        labels=[_review_out(label) for label in part.labels],
        awaits_review=part.awaits_review,
    )


def _review_out(label: Label) -> ReviewOut:
    return ReviewOut(
        reviewer=label.reviewer.username,
        note=label.note,
        at=label.created_at,
        **_judgement_out(label),
    )


# The columns that answers call by the same name.
SAME = (
    *("answer", "step_id", "earliest_wrong_step", "error_category", "is_format_kept", "is_hack"),
    *("hack_kind", "is_hack_admitted", "is_answer_supported", "problem_fault", "confidence"),
    "criteria",
)


def _judgement_out(said: Judgement) -> dict[str, Any]:
    """The fields of a JudgementOut."""
    return {name: getattr(said, name) for name in SAME} | {"no_wrong_step": said.has_no_wrong_step}


def _adjudication_out(decision: Adjudication) -> object:
    return msgspec.to_builtins(
        AdjudicationOut(
            id=decision.pk,
            rollout=decision.rollout.uid,
            reason=decision.reason,
            decided_by=decision.decided_by.username,
            at=decision.created_at,
            **_judgement_out(decision),
        )
    )
