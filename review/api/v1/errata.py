"""What problems of a run are said to be broken by."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.schema import describe
from review.labeling.errata import reports_of
from review.runs.models import Erratum
from review.runs.queries import errata_of_run, run_in_project


class ErratumOut(msgspec.Struct):
    id: UUID
    prompt: Annotated[str, Meta(description="The client's uid")]
    fault: str
    state: str
    labels: Annotated[int, Meta(description="Labels and decisions that stand and say so")]
    note: Annotated[str, Meta(description="Of the first who said so")]
    opened_at: datetime
    decision: Annotated[str | None, Meta(description="Why; null while it waits")]
    decided_by: str | None
    decided_at: datetime | None


class ErratumListOut(msgspec.Struct):
    errata: list[ErratumOut]


class RunErrata(APIView):
    scopes = {"GET": {"lead"}}

    @describe(
        "listErrata",
        "The errata on a run's prompts, the oldest first",
        answers={200: ErratumListOut},
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        run = run_in_project(token_of(request).project, run_id)
        rows = list(errata_of_run(run))
        reports = reports_of(rows)
        shown = [
            _erratum_out(row, len(reports.get((row.prompt_id, row.fault), []))) for row in rows
        ]
        return Response({"errata": [msgspec.to_builtins(each) for each in shown]})


def _erratum_out(erratum: Erratum, labels: int) -> ErratumOut:
    is_decided = erratum.decided_at is not None
    return ErratumOut(
        id=erratum.pk,
        prompt=erratum.prompt.uid,
        fault=erratum.fault,
        state=erratum.state,
        labels=labels,
        note=erratum.note,
        opened_at=erratum.opened_at,
        decision=erratum.decision if is_decided else None,
        decided_by=erratum.decided_by if is_decided else None,
        decided_at=erratum.decided_at,
    )
