from django.conf import settings
from django.contrib.auth.views import LogoutView
from django.urls import path

from review.web import (
    accounts,
    adjudication,
    audits,
    calibration,
    conduct,
    errata,
    exports,
    home,
    imports,
    labeling,
    members,
    practice,
    queues,
    reveals,
    rollouts,
    runs,
    scorecard,
    shortcuts,
    slices,
)

app_name = "web"
urlpatterns = [
    path("", home.home, name="home"),
    path("login/", accounts.LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("password/", accounts.PasswordChangeView.as_view(), name="password"),
    path("join/<str:secret>/", members.join, name="join"),
    path("projects/new/", members.project_new, name="project-new"),
    path("projects/<slug:project_slug>/members/", members.members, name="members"),
    path(
        "projects/<slug:project_slug>/members/<int:member_id>/",
        members.member_change,
        name="member-change",
    ),
    path(
        "projects/<slug:project_slug>/members/<int:member_id>/remove/",
        members.member_remove,
        name="member-remove",
    ),
    path(
        "projects/<slug:project_slug>/invitations/", members.invitation_new, name="invitation-new"
    ),
    path(
        "invitations/<uuid:invitation_id>/revoke/",
        members.invitation_revoke,
        name="invitation-revoke",
    ),
    path("projects/<slug:project_slug>/tokens/", accounts.tokens, name="tokens"),
    path("projects/<slug:project_slug>/errata/", errata.errata, name="errata"),
    path("errata/<uuid:erratum_id>/decide/", errata.erratum_decide, name="erratum-decide"),
    path("projects/<slug:project_slug>/slices/", slices.slices, name="slices"),
    path("projects/<slug:project_slug>/imports/", imports.imports, name="imports"),
    path(
        "projects/<slug:project_slug>/imports/upload/", imports.import_upload, name="import-upload"
    ),
    path("imports/<uuid:import_id>/", imports.import_page, name="import"),
    path("imports/<uuid:import_id>/format/", imports.import_format, name="import-format"),
    path("imports/<uuid:import_id>/preview/", imports.import_preview, name="import-preview"),
    path("imports/<uuid:import_id>/live/", imports.import_live, name="import-live"),
    path("imports/<uuid:import_id>/cancel/", imports.import_cancel, name="import-cancel"),
    path("imports/<uuid:import_id>/refused/", imports.import_refused, name="import-refused"),
    path("slices/<uuid:slice_id>/delete/", slices.slice_delete, name="slice-delete"),
    path("tokens/<uuid:token_id>/revoke/", accounts.token_revoke, name="token-revoke"),
    path("runs/<uuid:run_id>/", runs.run, name="run"),
    path("runs/<uuid:run_id>/live/", runs.run_live, name="run-live"),
    path("runs/<uuid:run_id>/steps/", runs.run_steps, name="run-steps"),
    path("runs/<uuid:run_id>/audits/new/", audits.audit_new, name="audit-new"),
    path("runs/<uuid:run_id>/audits/preview/", audits.audit_new_preview, name="audit-new-preview"),
    path("runs/<uuid:run_id>/scorecard/", scorecard.scorecard, name="scorecard"),
    path("runs/<uuid:run_id>/labels/", exports.labels_export, name="labels-export"),
    path("runs/<uuid:run_id>/labelled/", scorecard.labelled, name="labelled"),
    path("runs/<uuid:run_id>/rollouts/<int:rollout_id>/", rollouts.rollout, name="rollout"),
    path(
        "runs/<uuid:run_id>/rollouts/<int:rollout_id>/gold/",
        rollouts.rollout_gold,
        name="rollout-gold",
    ),
    path(
        "runs/<uuid:run_id>/rollouts/<int:rollout_id>/requeue/<uuid:queue_id>/",
        rollouts.rollout_requeue,
        name="rollout-requeue",
    ),
    path("audits/<uuid:audit_id>/", conduct.audit_page, name="audit"),
    path("audits/<uuid:audit_id>/live/", conduct.audit_live, name="audit-live"),
    path("audits/<uuid:audit_id>/edit/", audits.audit_edit, name="audit-edit"),
    path("audits/<uuid:audit_id>/preview/", audits.audit_edit_preview, name="audit-edit-preview"),
    path("audits/<uuid:audit_id>/end/", conduct.audit_end, name="audit-end"),
    path("audits/<uuid:audit_id>/picks/", conduct.pick, name="picks"),
    path("windows/<uuid:window_id>/end/", conduct.window_end, name="window-end"),
    path("waves/<int:wave_id>/cancel/", conduct.wave_cancel, name="wave-cancel"),
    path("audits/<uuid:audit_id>/start/", audits.audit_start, name="audit-start"),
    path("runs/<uuid:run_id>/reward-tables/", calibration.table_build, name="table-build"),
    path("reward-tables/<uuid:table_id>/", calibration.table, name="table"),
    path("reward-tables/<uuid:table_id>/publish/", calibration.table_publish, name="table-publish"),
    path(
        "projects/<slug:project_slug>/adjudications/",
        adjudication.adjudications,
        name="adjudications",
    ),
    path("adjudications/<uuid:assignment_id>/", adjudication.adjudication, name="adjudication"),
    path("queues/<uuid:queue_id>/practice/", practice.practice, name="practice"),
    path("queues/<uuid:queue_id>/practice/item/", practice.practice_item, name="practice-item"),
    path(
        "queues/<uuid:queue_id>/practice/answers/<int:answer_id>/",
        practice.practice_answer,
        name="practice-answer",
    ),
    path(
        "queues/<uuid:queue_id>/practice/people/",
        practice.practice_people,
        name="practice-people",
    ),
    path(
        "queues/<uuid:queue_id>/practice/people/<int:user_id>/let-in/",
        practice.practice_let_in,
        name="practice-let-in",
    ),
    path("pauses/<int:pause_id>/lift/", practice.pause_lift, name="pause-lift"),
    path("queues/<uuid:queue_id>/", labeling.queue, name="queue"),
    path("queues/<uuid:queue_id>/settings/", queues.queue_settings, name="queue-settings"),
    path("queues/<uuid:queue_id>/next/", labeling.label_next, name="label-next"),
    path("queues/<uuid:queue_id>/undo/", labeling.label_undo, name="label-undo"),
    path("items/<uuid:assignment_id>/label/", labeling.label_commit, name="label-commit"),
    path("items/<uuid:assignment_id>/ahead/", labeling.label_ahead, name="label-ahead"),
    path("items/<uuid:assignment_id>/draft/", labeling.label_draft, name="label-draft"),
    path("labels/<int:label_id>/reveal/", reveals.label_reveal, name="label-reveal"),
    path("labels/<int:label_id>/verdicts/", reveals.revealed, name="revealed"),
    path("labels/<int:label_id>/object/", reveals.label_object, name="label-object"),
    path("keys/", shortcuts.keys, name="keys"),
    path("items/<uuid:assignment_id>/skip/", labeling.label_skip, name="label-skip"),
    path("items/<uuid:assignment_id>/heartbeat/", labeling.label_heartbeat, name="label-heartbeat"),
]

if settings.OIDC_ISSUER:
    from review.web import sso

    urlpatterns += [
        path("sso/", sso.start, name="sso"),
        path("sso/callback/", sso.callback, name="sso-callback"),
    ]
