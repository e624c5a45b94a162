from django.urls import path, re_path

from review.api.v1 import audits, calibration, labels, runs
from review.api.v1.errors import unknown_path

urlpatterns = [
    path("runs", runs.RunList.as_view()),
    path("runs/<uuid:run_id>", runs.RunDetail.as_view()),
    path("runs/<uuid:run_id>/prompts", runs.PromptBatch.as_view()),
    path("runs/<uuid:run_id>/rollouts", runs.RolloutBatch.as_view()),
    path("runs/<uuid:run_id>/verdicts", runs.VerdictBatch.as_view()),
    path("runs/<uuid:run_id>/audits", audits.AuditList.as_view()),
    path("audits/<uuid:audit_id>", audits.AuditDetail.as_view()),
    path("audits/<uuid:audit_id>/start", audits.AuditStart.as_view()),
    path("queues/<uuid:queue_id>/take", labels.QueueTake.as_view()),
    path("assignments/<uuid:assignment_id>/label", labels.AssignmentLabel.as_view()),
    path("assignments/<uuid:assignment_id>/skip", labels.AssignmentSkip.as_view()),
    path("assignments/<uuid:assignment_id>/heartbeat", labels.AssignmentHeartbeat.as_view()),
    path("assignments/<uuid:assignment_id>/release", labels.AssignmentRelease.as_view()),
    path("runs/<uuid:run_id>/estimates", calibration.EstimateList.as_view()),
    path("runs/<uuid:run_id>/reward-tables", calibration.TableBuild.as_view()),
    path("reward-tables/<uuid:table_id>/publish", calibration.TablePublish.as_view()),
    path("runs/<uuid:run_id>/reward-table", calibration.TableCurrent.as_view()),
    re_path(r"^(?P<path>.*)$", unknown_path),
]
