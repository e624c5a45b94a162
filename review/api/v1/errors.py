"""The one error shape: {"error": {"code", "message", "fields"}}."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from review.core.errors import ReviewError


class BadRequestBodyError(ReviewError):
    """The body is not what this call takes."""

    code = "invalid_body"


class BodyTooLargeError(ReviewError):
    """The body is too large; send smaller batches."""

    code = "too_large"
    status = 413


class LengthRequiredError(ReviewError):
    """Send the body with a Content-Length."""

    code = "length_required"
    status = 411


class UnsupportedBodyError(ReviewError):
    """This call takes application/json (or, where it says so, application/x-ndjson)."""

    code = "unsupported_media_type"
    status = 415


CODES = {
    exceptions.NotAuthenticated: "not_authenticated",
    exceptions.AuthenticationFailed: "not_authenticated",
    exceptions.PermissionDenied: "not_allowed",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.Throttled: "throttled",
}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(error, ReviewError):
        return Response(error_body(error.code, error.message, error.fields), status=error.status)
    response = drf_exception_handler(error, context)
    if response is None:
        return None
    code = "not_found" if isinstance(error, Http404) else CODES.get(type(error), "refused")
    detail = response.data.get("detail", "") if isinstance(response.data, dict) else ""
    response.data = error_body(code, str(detail), {})
    return response


def error_body(code: str, message: str, fields: dict[str, str]) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "fields": fields}}


def unknown_path(request: HttpRequest, path: str) -> HttpResponseBase:
    return JsonResponse(error_body("not_found", "There is no such call.", {}), status=404)


def internal_error() -> HttpResponseBase:
    message = "The server failed; it is no fault of the request. Try again later."
    return JsonResponse(error_body("internal", message, {}), status=500)
