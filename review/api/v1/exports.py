"""Labels out, as files."""

from uuid import UUID

from django.http import StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from review.api.v1.auth import token_of
from review.api.v1.errors import BadRequestBodyError
from review.api.v1.schema import describe
from review.core.downloads import download
from review.flows.exports import FORMATS, export_labels
from review.labeling.final_labels import LabelledRollout
from review.runs.queries import run_in_project

TRUTHS = {"true": True, "false": False}


class RunLabels(APIView):
    scopes = {"GET": {"lead"}}

    @describe(
        "exportLabels",
        "The run's labels as a file; shown is a line of jsonl, whose fields parquet has as columns",
        answers={200: LabelledRollout},
        query={
            "format": (str, f"{', '.join(FORMATS)}; else jsonl"),
            "names": (bool, "reviewers by their usernames; else by names that say nothing"),
            "holdout": (bool, "with prompts of the holdout split; else without"),
        },
    )
    def get(self, request: Request, run_id: UUID) -> StreamingHttpResponse:
        run = run_in_project(token_of(request).project, run_id)
        name = request.query_params.get("format", "jsonl")
        if name not in FORMATS:
            raise BadRequestBodyError(
                "There is no such format.", fields={"format": f"one of {', '.join(FORMATS)}"}
            )
        pieces = export_labels(
            run,
            name,
            with_names=_truth(request, "names"),
            with_holdout=_truth(request, "holdout"),
            actor=token_of(request),
        )
        file = FORMATS[name]
        return download(pieces, file_name=file.file_name, content_type=file.content_type)


def _truth(request: Request, field: str) -> bool:
    text = request.query_params.get(field, "false")
    if text not in TRUTHS:
        raise BadRequestBodyError("It is true or false.", fields={field: "true or false"})
    return TRUTHS[text]
