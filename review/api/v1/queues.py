"""What a queue asks, of whom, and how good they have to be."""

from dataclasses import asdict, replace
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import decode
from review.api.v1.schema import describe
from review.labeling.models import Queue
from review.labeling.queries import is_labelled, queue_in_project
from review.labeling.services.queues import (
    MOST_CRITERIA,
    MOST_CRITERION,
    MOST_DOMAIN,
    MOST_DOMAINS,
    MOST_INSTRUCTIONS,
    MOST_PRACTICE,
    change_queue,
    settings_of,
)

QuestionIn = Literal["step", "category", "format", "hack", "reasoning", "problem", "confidence"]
Questions = Annotated[
    list[QuestionIn],
    Meta(max_length=7, description="Beside the answer; fixed from the first label on"),
]
Rubric = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=MOST_CRITERION)]],
    Meta(max_length=MOST_CRITERIA, description="Criteria; fixed from the first label on"),
]
Domains = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=MOST_DOMAIN)]],
    Meta(max_length=MOST_DOMAINS, description="Whose expertise it asks for; none: anybody's"),
]
Mark = Annotated[float, Meta(gt=0, le=1)]


class QueueChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is not given stays as it is."""

    questions: Questions | UnsetType = UNSET
    rubric: Rubric | UnsetType = UNSET
    instructions: Annotated[str, Meta(max_length=MOST_INSTRUCTIONS)] | UnsetType = UNSET
    reveals: bool | UnsetType = UNSET
    domains: Domains | UnsetType = UNSET
    practice_size: Annotated[int, Meta(ge=0, le=MOST_PRACTICE)] | UnsetType = UNSET
    pass_mark: Mark | UnsetType = UNSET
    gold_mark: Annotated[float, Meta(gt=0, lt=1)] | UnsetType | None = UNSET


class QueueOut(msgspec.Struct):
    id: UUID
    name: str
    audit: UUID
    is_labelled: Annotated[bool, Meta(description="Its questions and rubric are fixed")]
    questions: list[str]
    rubric: list[str]
    instructions: Annotated[str, Meta(description="Markdown")]
    reveals: bool
    domains: list[str]
    practice_size: int
    pass_mark: float
    gold_mark: Annotated[float | None, Meta(description="null: nobody is paused")]


class QueueDetail(APIView):
    scopes = {"GET": {"lead"}, "PATCH": {"lead"}}

    @describe("getQueue", "What a queue asks", answers={200: QueueOut})
    def get(self, request: Request, queue_id: UUID) -> Response:
        return Response(_queue_out(queue_in_project(token_of(request).project, queue_id)))

    @describe(
        "changeQueue",
        "Change what is given; what is asked is fixed from the first label on",
        body=QueueChange,
        answers={200: QueueOut},
    )
    def patch(self, request: Request, queue_id: UUID) -> Response:
        queue = queue_in_project(token_of(request).project, queue_id)
        settings = replace(settings_of(queue), **_given(decode(request, QueueChange)))
        changed = change_queue(queue=queue, settings=settings, actor=token_of(request))
        return Response(_queue_out(changed))


def _given(body: QueueChange) -> dict[str, Any]:
    fields = msgspec.structs.asdict(body).items()
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields
        if value is not UNSET
    }


def _queue_out(queue: Queue) -> object:
    settings: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings_of(queue)).items()
    }
    return msgspec.to_builtins(
        QueueOut(
            id=queue.pk,
            name=queue.name,
            audit=queue.rule_id,
            is_labelled=is_labelled(queue),
            **settings,
        )
    )
