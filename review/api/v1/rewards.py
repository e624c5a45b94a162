"""Rewards of rollouts, judged and looked up by the server: nothing is stored."""

import re
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.body import decode
from review.api.v1.errors import BadRequestBodyError, BodyTooLargeError
from review.api.v1.runs import DOMAIN, Domain
from review.api.v1.schema import describe
from review.flows.ingest import Uid
from review.flows.scoring import AskedRollout, rewards_of
from review.runs.queries import run_in_project
from trainer.rewards import Scored, response_in
from trainer.verifiers import Outcome, Verdict

# A caller waits while they are judged.
MOST_ROLLOUTS = 1_000
MOST_CHARACTERS = 4_000_000

Text = Annotated[str, Meta(max_length=1_000_000)]
References = Annotated[list[Text], Meta(max_length=100)]
Texts = Annotated[list[Text], Meta(max_length=MOST_ROLLOUTS)]
Labels = Annotated[list[Text | int | float | References | None], Meta(max_length=MOST_ROLLOUTS)]


class AskedIn(msgspec.Struct, forbid_unknown_fields=True):
    """A rollout to score."""

    response: Text
    prompt: Annotated[Text, Meta(description="The problem's text")] = ""
    references: References = []
    prompt_uid: Annotated[
        Uid | None, Meta(description="For answers to this prompt that labels have settled")
    ] = None
    group: Annotated[
        Uid | None,
        Meta(description="Rollouts of one group, all of one prompt, are seen together"),
    ] = None
    domain: Domain = "general"
    truncated: bool = False
    probe: Annotated[bool, Meta(description="Whether a hack probe hit it")] = False


class RewardsIn(msgspec.Struct, forbid_unknown_fields=True):
    """Either `rollouts`, or OpenRLHF's `query` (prompt and response as one text), `prompts` and
    `labels`."""

    rollouts: Annotated[list[AskedIn], Meta(max_length=MOST_ROLLOUTS)] | None = None
    query: Texts | None = None
    prompts: Texts | None = None
    labels: Labels | None = None


class RewardOut(msgspec.Struct):
    reward: Annotated[float | None, Meta(description="null: leave it out of its group")]
    value: Annotated[float, Meta(description="For trainers that cannot leave a rollout out")]
    verdict: Annotated[str, Meta(description="pass, fail or undecided, by the primary verifier")]
    cell: str
    level: Annotated[str, Meta(description="What the reward was looked up by")]
    table_version: Annotated[int | None, Meta(description="null: no table, the raw verdict")]
    detail: Annotated[str, Meta(description="Of the verdict: why it is undecided, say")]


class RewardsOut(msgspec.Struct):
    """One entry for each rollout, in order: an object for each of `rollouts`; for each of `query`
    what the table pays, with the raw verdicts as `scores` (undecided as 0) and more numbers in
    `extra_logs`."""

    rewards: list[float | RewardOut]
    scores: list[float] | UnsetType = UNSET
    extra_logs: dict[str, list[float]] | UnsetType = UNSET


class RunRewards(APIView):
    scopes = {"POST": {"table"}}

    @describe(
        "scoreRollouts",
        "Judge rollouts by the run's own verifiers and look their rewards up; nothing is stored",
        body=RewardsIn,
        answers={200: RewardsOut},
        query={"domain": (str, "of OpenRLHF's prompts; else general")},
    )
    def post(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        body = decode(request, RewardsIn)
        asked = _asked(request, body)
        _refuse_large(asked)
        scored = rewards_of(run=run, asked=asked)
        out = _lists(scored) if body.rollouts is None else _objects(scored)
        return Response(msgspec.to_builtins(out))


def _asked(request: Request, body: RewardsIn) -> list[AskedRollout]:
    if body.rollouts is not None:
        if body.query is not None or body.prompts is not None or body.labels is not None:
            raise BadRequestBodyError(fields={"rollouts": "does not go with query"})
        return [_rollout(row) for row in body.rollouts]
    if body.query is None or body.prompts is None or body.labels is None:
        raise BadRequestBodyError(fields={"rollouts": "or query, prompts and labels are required"})
    if not len(body.query) == len(body.prompts) == len(body.labels):
        raise BadRequestBodyError(fields={"query": "is as long as prompts and labels"})
    domain = _domain(request)
    return [
        AskedRollout(
            problem=prompt,
            response=response_in(query, prompt),
            references=_references(label),
            domain=domain,
        )
        for query, prompt, label in zip(body.query, body.prompts, body.labels, strict=True)
    ]


def _rollout(row: AskedIn) -> AskedRollout:
    return AskedRollout(
        problem=row.prompt,
        response=row.response,
        references=tuple(row.references),
        domain=row.domain,
        prompt=row.prompt_uid,
        group=row.group,
        truncated=row.truncated,
        probe=row.probe,
    )


def _references(label: str | int | float | list[str] | None) -> tuple[str, ...]:
    if isinstance(label, list):
        return tuple(label)
    return () if label is None else (str(label),)


def _domain(request: Request) -> str:
    domain = request.query_params.get("domain", "general")
    if not re.match(DOMAIN, domain):
        raise BadRequestBodyError("There is no such domain.", fields={"domain": "is no domain"})
    return domain


def _refuse_large(asked: Sequence[AskedRollout]) -> None:
    texts = sum(
        len(text) for row in asked for text in (row.problem, row.response or "", *row.references)
    )
    if texts > MOST_CHARACTERS:
        raise BodyTooLargeError(fields={"body": f"at most {MOST_CHARACTERS} characters of texts"})


def _objects(scored: Sequence[tuple[Scored, Verdict]]) -> RewardsOut:
    return RewardsOut(
        rewards=[
            RewardOut(
                reward=row.reward.value,
                value=row.value,
                verdict=row.cell.outcome.value,
                cell=row.cell.key,
                level=row.reward.level,
                table_version=row.table_version,
                detail=verdict.detail,
            )
            for row, verdict in scored
        ]
    )


def _lists(scored: Sequence[tuple[Scored, Verdict]]) -> RewardsOut:
    return RewardsOut(
        rewards=[row.value for row, _ in scored],
        scores=[float(row.cell.is_accepted) for row, _ in scored],
        extra_logs={
            "undecided": [float(row.cell.outcome is Outcome.UNDECIDED) for row, _ in scored],
            "abstained": [float(row.reward.value is None) for row, _ in scored],
            "table_version": [float(row.table_version or 0) for row, _ in scored],
        },
    )
