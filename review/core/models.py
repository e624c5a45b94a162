"""The audit trail: who did what to which thing. Append-only."""

from django.db import models

from review.core.lookups import AnyOf

models.CharField.register_lookup(AnyOf)


class AuditEvent(models.Model):
    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=80)
    subject = models.CharField(max_length=200)
    details = models.JSONField(default=dict)

    class Meta:
        # "what happened to this thing, newest first"
        indexes = [models.Index(fields=["subject", "-at"], name="audit_event_by_subject")]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.subject}"


def record_event(*, actor: object, action: str, subject: object, **details: object) -> None:
    """Write one line of the audit trail, inside the caller's transaction."""
    AuditEvent.objects.create(
        actor=str(actor), action=action, subject=_name_of(subject), details=details
    )


def events_of(subject: object) -> models.QuerySet[AuditEvent]:
    """What happened to the thing, the newest first."""
    return AuditEvent.objects.filter(subject=_name_of(subject)).order_by("-at", "-pk")


def _name_of(subject: object) -> str:
    return f"{type(subject).__name__}:{getattr(subject, 'pk', subject)}"
