"""Replays: a verifier that the server runs itself, over what a run has stored."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import NoBody, decode
from review.api.v1.schema import describe
from review.flows import replays as flow
from review.runs.queries import run_in_project
from review.verifiers.models import Replay
from review.verifiers.replays import replay_in_project, replays_of

MOST_LISTED = 100


class ReplayIn(msgspec.Struct, forbid_unknown_fields=True):
    """The same verifier and parameters again: the replay that is under way, else one over what it
    has not judged yet."""

    verifier: Annotated[
        str, Meta(min_length=1, max_length=80, description="The name of a built-in verifier")
    ]
    params: Annotated[
        dict[str, Any], Meta(description="Those that are not as they come; part of the version")
    ] = {}


class ReplayOut(msgspec.Struct):
    id: UUID
    verifier: str
    channel: str
    params: dict[str, Any]
    state: Annotated[
        str,
        Meta(
            description="measuring what it costs, waiting to be started, running, done, failed "
            "or cancelled"
        ),
    ]
    rollouts: Annotated[int | None, Meta(description="To judge; null: being counted")]
    seconds: Annotated[float | None, Meta(description="Of one worker, estimated before it starts")]
    calls: Annotated[int | None, Meta(description="Of a judge, at least")]
    tokens: Annotated[
        int | None, Meta(description="Of problems and responses that a judge reads, about")
    ]
    judged: int
    undecided: int
    purged: Annotated[int, Meta(description="Left out: their texts are gone")]
    problem: str
    created_at: datetime
    finished_at: datetime | None


class ReplayListOut(msgspec.Struct):
    replays: list[ReplayOut]


class ReplayList(APIView):
    scopes = {"GET": {"lead"}, "POST": {"lead"}}

    @describe("listReplays", "The run's newest replays", answers={200: ReplayListOut})
    def get(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        return Response({"replays": [_out(replay) for replay in replays_of(run)[:MOST_LISTED]]})

    @describe(
        "addVerifier",
        "Add a built-in verifier to the run; what a replay costs is measured before it is started",
        body=ReplayIn,
        answers={201: ReplayOut},
    )
    def post(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        body = decode(request, ReplayIn)
        replay = flow.add_verifier(
            run=run, name=body.verifier, params=body.params, actor=token_of(request)
        )
        return Response(_out(replay), status=201)


class ReplayDetail(APIView):
    scopes = {"GET": {"lead"}}

    @describe("getReplay", "How far a replay is", answers={200: ReplayOut})
    def get(self, request: Request, replay_id: UUID) -> Response:
        return Response(_out(replay_in_project(token_of(request).project, replay_id)))


class ReplayStart(APIView):
    scopes = {"POST": {"lead"}}

    @describe(
        "startReplay",
        "Judge every rollout that the run has now and the verifier has not judged",
        body=NoBody,
        answers={200: ReplayOut},
    )
    def post(self, request: Request, replay_id: UUID) -> Response:
        replay = replay_in_project(token_of(request).project, replay_id)
        decode(request, NoBody)
        return Response(_out(flow.start_replay(replay=replay, actor=token_of(request))))


class ReplayCancel(APIView):
    scopes = {"POST": {"lead"}}

    @describe(
        "cancelReplay",
        "Stop a replay; the verdicts that are stored stay",
        body=NoBody,
        answers={200: ReplayOut},
    )
    def post(self, request: Request, replay_id: UUID) -> Response:
        replay = replay_in_project(token_of(request).project, replay_id)
        decode(request, NoBody)
        return Response(_out(flow.cancel_replay(replay=replay, actor=token_of(request))))


def _out(replay: Replay) -> object:
    return msgspec.to_builtins(
        ReplayOut(
            id=replay.pk,
            verifier=str(replay.verifier),
            channel=replay.verifier.channel,
            params=replay.verifier.params or {},
            state=replay.state,
            rollouts=replay.rollouts,
            seconds=replay.seconds,
            calls=replay.calls,
            tokens=replay.tokens,
            judged=replay.judged,
            undecided=replay.undecided,
            purged=replay.purged,
            problem=replay.problem,
            created_at=replay.created_at,
            finished_at=replay.finished_at,
        )
    )
