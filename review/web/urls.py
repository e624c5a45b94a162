from django.contrib.auth.views import LogoutView
from django.urls import path

from review.web import (
    accounts,
    audits,
    calibration,
    conduct,
    home,
    labeling,
    rollouts,
    runs,
    scorecard,
    slices,
)

app_name = "web"
urlpatterns = [
    path("", home.home, name="home"),
    path("login/", accounts.LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("projects/<slug:project_slug>/tokens/", accounts.tokens, name="tokens"),
    path("projects/<slug:project_slug>/slices/", slices.slices, name="slices"),
    path("slices/<uuid:slice_id>/delete/", slices.slice_delete, name="slice-delete"),
    path("tokens/<uuid:token_id>/revoke/", accounts.token_revoke, name="token-revoke"),
    path("runs/<uuid:run_id>/", runs.run, name="run"),
    path("runs/<uuid:run_id>/live/", runs.run_live, name="run-live"),
    path("runs/<uuid:run_id>/audits/new/", audits.audit_new, name="audit-new"),
    path("runs/<uuid:run_id>/audits/preview/", audits.audit_new_preview, name="audit-new-preview"),
    path("runs/<uuid:run_id>/scorecard/", scorecard.scorecard, name="scorecard"),
    path("runs/<uuid:run_id>/labelled/", scorecard.labelled, name="labelled"),
    path("runs/<uuid:run_id>/rollouts/<int:rollout_id>/", rollouts.rollout, name="rollout"),
    path(
        "runs/<uuid:run_id>/rollouts/<int:rollout_id>/gold/",
        rollouts.rollout_gold,
        name="rollout-gold",
    ),
    path("audits/<uuid:audit_id>/", conduct.audit_page, name="audit"),
    path("audits/<uuid:audit_id>/live/", conduct.audit_live, name="audit-live"),
    path("audits/<uuid:audit_id>/edit/", audits.audit_edit, name="audit-edit"),
    path(
        "audits/<uuid:audit_id>/preview/", audits.audit_edit_preview, name="audit-edit-preview"
    ),
    path("audits/<uuid:audit_id>/end/", conduct.audit_end, name="audit-end"),
    path("audits/<uuid:audit_id>/picks/", conduct.pick, name="picks"),
    path("audits/<uuid:audit_id>/rollouts/<int:rollout_id>/", rollouts.settle, name="settle"),
    path("windows/<uuid:window_id>/end/", conduct.window_end, name="window-end"),
    path("waves/<int:wave_id>/cancel/", conduct.wave_cancel, name="wave-cancel"),
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
