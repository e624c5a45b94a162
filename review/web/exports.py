"""Labels out, as files."""

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from review.core.downloads import download
from review.flows.exports import FORMATS, export_labels
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.exports import ExportForm


@require_GET
@login_required
def labels_export(request: ReviewRequest, run_id: UUID) -> HttpResponseBase:
    run = access.run_led(request.user, run_id)
    form = ExportForm(request.GET)
    if not form.is_valid():
        raise Http404
    name = form.cleaned_data["format"]
    pieces = export_labels(
        run,
        name,
        with_names=form.cleaned_data["names"],
        with_holdout=form.cleaned_data["holdout"],
        actor=request.user,
    )
    file = FORMATS[name]
    return download(pieces, file_name=file.file_name, content_type=file.content_type)
