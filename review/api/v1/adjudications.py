"""Labels that disagree, and who settles them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import decode
from review.api.v1.labels import AnswerIn, StepNumber, StepOut
from review.api.v1.schema import describe
from review.flows import labels
from review.flows.ingest import Uid
from review.labeling.disagreements import Disagreement, oldest_disagreements
from review.labeling.models import Adjudication, Answer, Label
from review.labeling.services.judgements import NewLabel
from review.rollouts.errors import UnknownRolloutError
from review.rollouts.models import Rollout
from review.runs.models import Run
from review.sampling.queries import rule_in_project

# The oldest come first: the others follow when these are settled.
MOST_SHOWN = 100


class ReviewOut(msgspec.Struct):
    reviewer: str
    answer: str
    earliest_wrong_step: int | None
    no_wrong_step: bool
    is_hack: bool
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


class AdjudicationIn(msgspec.Struct, forbid_unknown_fields=True):
    rollout: Uid
    answer: AnswerIn
    reason: Annotated[str, Meta(min_length=1, max_length=10_000)]
    earliest_wrong_step: StepNumber | None = None
    no_wrong_step: bool = False
    is_hack: bool = False


class AdjudicationOut(msgspec.Struct):
    id: int
    rollout: str
    answer: str
    earliest_wrong_step: int | None
    no_wrong_step: bool
    is_hack: bool
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
            new=NewLabel(
                answer=Answer(body.answer),
                earliest_wrong_step=body.earliest_wrong_step,
                has_no_wrong_step=body.no_wrong_step,
                is_hack=body.is_hack,
            ),
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
        steps=[StepOut(number=step.number, text=step.text) for step in item.steps],
        answer=item.answer,
        labels=[_review_out(label) for label in part.labels],
        awaits_review=part.awaits_review,
    )


def _review_out(label: Label) -> ReviewOut:
    return ReviewOut(
        reviewer=label.reviewer.username,
        answer=label.answer,
        earliest_wrong_step=label.earliest_wrong_step,
        no_wrong_step=label.has_no_wrong_step,
        is_hack=bool(label.is_hack),
        note=label.note,
        at=label.created_at,
    )


def _adjudication_out(decision: Adjudication) -> object:
    return msgspec.to_builtins(
        AdjudicationOut(
            id=decision.pk,
            rollout=decision.rollout.uid,
            answer=decision.answer,
            earliest_wrong_step=decision.earliest_wrong_step,
            no_wrong_step=decision.has_no_wrong_step,
            is_hack=bool(decision.is_hack),
            reason=decision.reason,
            decided_by=decision.decided_by.username,
            at=decision.created_at,
        )
    )
