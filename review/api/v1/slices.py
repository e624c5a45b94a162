"""Slices: named conditions on what is known of a rollout at ingest."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import decode
from review.api.v1.schema import describe
from review.flows.slices import create_slice
from review.rollouts import slices
from review.rollouts.models import Slice
from review.rollouts.queries import slice_in_project, slices_of
from review.rollouts.services import MOST_NAME, delete_slice

FIELDS_IN_WORDS = "; ".join(f"{name}: {', '.join(f.ops)}" for name, f in slices.FIELDS.items())


class ConditionIn(msgspec.Struct, forbid_unknown_fields=True):
    field: Annotated[str, Meta(description=f"With its operators: {FIELDS_IN_WORDS}")]
    op: str
    value: str | int | bool | list[str]


class SliceIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=MOST_NAME)]
    conditions: Annotated[
        list[ConditionIn],
        Meta(min_length=1, max_length=slices.MOST_CONDITIONS, description="All must hold"),
    ]


class SliceOut(msgspec.Struct):
    id: UUID
    name: str
    conditions: list[ConditionIn]
    words: str


class SliceListOut(msgspec.Struct):
    slices: list[SliceOut]


class SliceList(APIView):
    scopes = {"GET": {"lead"}, "POST": {"lead"}}

    @describe("listSlices", "The slices of the project", answers={200: SliceListOut})
    def get(self, request: Request) -> Response:
        stored = slices_of(token_of(request).project)
        return Response({"slices": [_slice_out(slice_) for slice_ in stored]})

    @describe("createSlice", "Name a slice", body=SliceIn, answers={201: SliceOut})
    def post(self, request: Request) -> Response:
        body = decode(request, SliceIn)
        slice_ = create_slice(
            project=token_of(request).project,
            name=body.name,
            conditions=msgspec.to_builtins(body.conditions),
            actor=token_of(request),
        )
        return Response(_slice_out(slice_), status=201)


class SliceDetail(APIView):
    scopes = {"DELETE": {"lead"}}

    @describe("deleteSlice", "Delete a slice that nothing uses", answers={204: None})
    def delete(self, request: Request, slice_id: UUID) -> Response:
        slice_ = slice_in_project(token_of(request).project, slice_id)
        delete_slice(slice_=slice_, actor=token_of(request))
        return Response(status=204)


def _slice_out(slice_: Slice) -> object:
    return msgspec.to_builtins(
        SliceOut(
            id=slice_.pk,
            name=slice_.name,
            conditions=slice_.conditions,
            words=slices.describe(slice_.conditions),
        )
    )
