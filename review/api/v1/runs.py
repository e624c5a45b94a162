"""Runs, their prompts, rollouts and verdicts: what a trainer sends."""

from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import decode, decode_rows
from review.api.v1.errors import BadRequestBodyError
from review.api.v1.schema import describe
from review.core.texts import is_deeper_than
from review.flows import audit, ingest
from review.flows.ingest import IncomingRollout, IncomingVerdict, Uid
from review.rollouts.queries import rollouts_to_recut
from review.runs.models import Run, RunStatus
from review.runs.queries import run_in_project
from review.runs.services import NewPrompt, NewRun, store_prompts
from review.verifiers.services import NewVerifier

Name = Annotated[str, Meta(min_length=1, max_length=200)]
# A window of so many steps after it still has numbers that PostgreSQL's integer holds.
Step = Annotated[int, Meta(ge=0, le=1_000_000_000)]
DOMAIN = r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,59}$(?!\n)"
Domain = Annotated[str, Meta(pattern=DOMAIN)]
CONFIG_DEPTH = 50
SegmenterName = Literal["auto", "blank_line", "numbered", "sentence", "source"]


class VerifierIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=80)]
    version: Annotated[str, Meta(min_length=1, max_length=40)]
    channel: Literal["correctness", "format", "process", "probe", "monitor"] = "correctness"
    # Where it is not given: 1, of a monitor 0.
    weight: Annotated[float, Meta(ge=0, le=1000)] | None = None


class RunIn(msgspec.Struct, forbid_unknown_fields=True):
    uid: Uid
    name: Name
    verifiers: Annotated[list[VerifierIn], Meta(min_length=1, max_length=20)]
    normaliser: str
    group_size: Annotated[int, Meta(ge=1, le=100_000)]
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    config: dict[str, Any] = {}
    step_block: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    segmenter: SegmenterName = "auto"


class RunChange(msgspec.Struct, forbid_unknown_fields=True):
    completed_step: Step | None = None
    status: Literal["finished", "failed"] | None = None
    normaliser: str | None = None
    segmenter: SegmenterName | None = None


class RunOut(msgspec.Struct):
    id: UUID
    uid: str
    name: str
    status: str
    group_size: int
    normaliser: str
    completed_step: int | None
    segmenter: str
    # Rollouts that are not cut by it yet.
    rollouts_to_recut: int


class PromptIn(msgspec.Struct, forbid_unknown_fields=True):
    uid: Uid
    text: Annotated[str, Meta(min_length=1, max_length=1_000_000)]
    references: Annotated[list[str], Meta(max_length=100)] = []
    domain: Domain = "general"
    source: Annotated[str, Meta(max_length=120)] = ""
    licence: Annotated[str, Meta(max_length=60)] = ""
    released_on: date | None = None
    split: Literal["train", "eval", "holdout"] = "train"
    difficulty: Annotated[int, Meta(ge=0, le=100)] | None = None


class PromptBatchIn(msgspec.Struct, forbid_unknown_fields=True):
    prompts: list[PromptIn]


class RolloutBatchIn(msgspec.Struct, forbid_unknown_fields=True):
    rollouts: list[IncomingRollout]


class RolloutVerdictIn(msgspec.Struct, forbid_unknown_fields=True):
    rollout: Uid
    verdict: IncomingVerdict


class VerdictBatchIn(msgspec.Struct, forbid_unknown_fields=True):
    channel: Literal["correctness", "format", "process", "probe", "monitor"]
    verdicts: list[RolloutVerdictIn]


class BatchOut(msgspec.Struct):
    received: int


class PurgeIn(msgspec.Struct, forbid_unknown_fields=True):
    rollouts: Annotated[list[Uid], Meta(max_length=10_000)]


class PurgeOut(msgspec.Struct):
    purged: int


class RunList(APIView):
    scopes = {"POST": {"ingest"}}

    @describe(
        "registerRun",
        "Register a run; the same uid again answers the stored one",
        body=RunIn,
        answers={201: RunOut, 200: RunOut},
    )
    def post(self, request: Request) -> Response:
        body = decode(request, RunIn)
        _refuse_deep(body.config)
        run, is_new = ingest.open_run(
            project=token_of(request).project,
            new=NewRun(
                uid=body.uid,
                name=body.name,
                seed=body.seed,
                config=body.config,
                group_size=body.group_size,
                normaliser=body.normaliser,
                step_block=body.step_block,
                segmenter=body.segmenter,
            ),
            verifiers=[
                NewVerifier(name=v.name, version=v.version, channel=v.channel, weight=v.weight)
                for v in body.verifiers
            ],
            actor=token_of(request),
        )
        return Response(_run_out(run), status=201 if is_new else 200)


class RunDetail(APIView):
    scopes = {"GET": {"ingest", "table", "lead"}, "PATCH": {"ingest"}}

    @describe("getRun", "One run", answers={200: RunOut})
    def get(self, request: Request, run_id: UUID) -> Response:
        return Response(_run_out(run_in_project(token_of(request).project, run_id)))

    @describe(
        "changeRun",
        "Say that a step is complete or the run over; class answers or cut steps by another rule",
        body=RunChange,
        answers={200: RunOut},
    )
    def patch(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        change = decode(request, RunChange)
        run = ingest.change_run(
            run=run,
            completed_step=change.completed_step,
            status=RunStatus(change.status) if change.status else None,
            normaliser=change.normaliser,
            segmenter=change.segmenter,
            actor=token_of(request),
        )
        return Response(_run_out(run))


class PromptBatch(APIView):
    scopes = {"POST": {"ingest"}}

    @describe(
        "storePrompts",
        "Store prompts; one that is stored already is left as it is",
        body=PromptBatchIn,
        ndjson=PromptIn,
        answers={200: BatchOut},
    )
    def post(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        rows = decode_rows(request, PromptIn, "prompts")
        store_prompts(run=run, prompts=[_new_prompt(row) for row in rows])
        return Response({"received": len(rows)})


class RolloutBatch(APIView):
    scopes = {"POST": {"ingest"}}

    @describe(
        "storeRollouts",
        "Store whole groups of rollouts with their verdicts; a repeated batch is stored once",
        body=RolloutBatchIn,
        ndjson=IncomingRollout,
        answers={200: BatchOut},
    )
    def post(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        rows = decode_rows(request, IncomingRollout, "rollouts")
        ingest.store_batch(run=run, batch=rows)
        return Response({"received": len(rows)})


class VerdictBatch(APIView):
    scopes = {"POST": {"ingest"}}

    @describe(
        "storeVerdicts",
        "Store what another verifier says of rollouts that are stored already",
        body=VerdictBatchIn,
        answers={200: BatchOut},
    )
    def post(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        body = decode(request, VerdictBatchIn)
        ingest.store_verdicts(
            run=run,
            channel=body.channel,
            verdicts=[(row.rollout, row.verdict) for row in body.verdicts],
        )
        return Response({"received": len(body.verdicts)})


class RunPurge(APIView):
    scopes = {"POST": {"lead"}}

    @describe(
        "purgeRollouts",
        "Blank the texts of rollouts for good; their cells, verdicts and labels stay",
        body=PurgeIn,
        answers={200: PurgeOut},
    )
    def post(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        body = decode(request, PurgeIn)
        audit.purge_rollouts(run=run, uids=body.rollouts, actor=token_of(request))
        return Response({"purged": len(set(body.rollouts))})


def _refuse_deep(config: object) -> None:
    if is_deeper_than(CONFIG_DEPTH, config):
        raise BadRequestBodyError(fields={"config": f"at most {CONFIG_DEPTH} levels deep"})


def _new_prompt(row: PromptIn) -> NewPrompt:
    return NewPrompt(
        uid=row.uid,
        text=row.text,
        references=row.references,
        domain=row.domain,
        source=row.source,
        licence=row.licence,
        released_on=row.released_on,
        split=row.split,
        difficulty=row.difficulty,
    )


def _run_out(run: Run) -> object:
    return msgspec.to_builtins(
        RunOut(
            id=run.pk,
            uid=run.uid,
            name=run.name,
            status=run.status,
            group_size=run.group_size,
            normaliser=run.normaliser,
            completed_step=run.completed_step if run.completed_step >= 0 else None,
            segmenter=run.segmenter,
            rollouts_to_recut=rollouts_to_recut(run),
        )
    )
