from django.contrib import admin
from django.http import HttpRequest, HttpResponseBase
from django.urls import include, path
from django.views.defaults import server_error

from review.api.v1.errors import internal_error
from review.web.accounts import admin_login

API = "api/v1/"

urlpatterns = [
    path(API, include("review.api.v1.urls")),
    path("admin/login/", admin_login),
    path("admin/", admin.site.urls),
    path("", include("review.web.urls")),
]


def handler500(request: HttpRequest) -> HttpResponseBase:
    """A program that fails is told so in the API's shape, a person on a page."""
    return internal_error() if request.path.startswith(f"/{API}") else server_error(request)
