"""Where pages turn what was refused into an answer."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from review.core.errors import ReviewError
from review.web.words import said

PAGES = {403: "403.html", 404: "404.html"}


class ReviewErrorMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, ReviewError):
            return None
        if "HX-Request" in request.headers:
            # htmx swaps no refusal into the page: its script shows this text.
            return HttpResponse(said(error.message), content_type="text/plain", status=error.status)
        template = PAGES.get(error.status, "web/refused.html")
        return render(request, template, {"error": error}, status=error.status)
