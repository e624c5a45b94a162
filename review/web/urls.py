from django.contrib.auth.views import LogoutView
from django.urls import path

from review.web import accounts, audits, calibration, home, labeling, runs

app_name = "web"
urlpatterns = [
    path("", home.home, name="home"),
    path("login/", accounts.LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("projects/<slug:project_slug>/tokens/", accounts.tokens, name="tokens"),
    path("tokens/<uuid:token_id>/revoke/", accounts.token_revoke, name="token-revoke"),
    path("runs/<uuid:run_id>/", runs.run, name="run"),
    path("runs/<uuid:run_id>/live/", runs.run_live, name="run-live"),
    path("runs/<uuid:run_id>/audits/new/", audits.audit_new, name="audit-new"),
    path("audits/<uuid:audit_id>/start/", audits.audit_start, name="audit-start"),
    path("runs/<uuid:run_id>/reward-tables/", calibration.table_build, name="table-build"),
    path("reward-tables/<uuid:table_id>/", calibration.table, name="table"),
    path("reward-tables/<uuid:table_id>/publish/", calibration.table_publish, name="table-publish"),
    path("queues/<uuid:queue_id>/", labeling.queue, name="queue"),
    path("queues/<uuid:queue_id>/next/", labeling.label_next, name="label-next"),
    path("queues/<uuid:queue_id>/undo/", labeling.label_undo, name="label-undo"),
    path("items/<uuid:assignment_id>/label/", labeling.label_commit, name="label-commit"),
    path("items/<uuid:assignment_id>/skip/", labeling.label_skip, name="label-skip"),
    path("items/<uuid:assignment_id>/heartbeat/", labeling.label_heartbeat, name="label-heartbeat"),
]
