"""How far reviewers agree, how fast they are, and how often right on known answers."""

from django.utils.translation import gettext as _

from review.calibration.agreement import ReviewerReport, agreement_of, reviewers_of
from review.sampling.models import AuditRule
from review.stats.agreement import Agreement, Coefficient, StepAgreement
from review.stats.intervals import Interval
from review.web.estimands import FEWEST_FOR_POINT
from review.web.figures import duration, percent, percent_range
from review.web.words import said


def agreement(rule: AuditRule) -> list[dict[str, object]] | None:
    """Rows of the panel; None: no random second review is answered yet."""
    report = agreement_of(rule)
    if not report.raw.items:
        return None
    return [
        _answers(_("Answers, as labelled"), report.raw),
        _answers(_("Answers, over the run"), report.weighted),
        _answers(_("Hack or not"), report.hacks),
        _steps(_("Earliest wrong step"), report.steps),
    ]


def _answers(label: str, found: Agreement) -> dict[str, object]:
    return {
        "label": label,
        "items": found.items,
        "share": _share(found.percent),
        "ac1": _coefficient(found.ac1),
        "alpha": _coefficient(found.alpha),
        "kappa": _coefficient(found.kappa),
    }


def _steps(label: str, found: StepAgreement) -> dict[str, object]:
    return {
        "label": label,
        "items": found.items,
        "share": _share(found.exact),
        "ac1": None,
        "alpha": _coefficient(found.alpha),
        "kappa": None,
    }


def _share(found: Interval) -> dict[str, str | None]:
    if found.point is None:
        return {"point": None, "interval": None}
    point = percent(found.point) if found.n >= FEWEST_FOR_POINT else None
    return {"point": point, "interval": percent_range(found.low, found.high)}


def _coefficient(found: Coefficient) -> str:
    if found.value is None:
        return _("n/a (%(reason)s)") % {"reason": said(found.reason)}
    return f"{found.value:.2f}"


def reviewers(rule: AuditRule) -> list[dict[str, object]]:
    return [_reviewer(report) for report in reviewers_of(rule)]


def _reviewer(report: ReviewerReport) -> dict[str, object]:
    seconds = report.median_seconds
    return {
        "name": report.reviewer.username,
        "labels": report.labels,
        "pace": None if seconds is None else duration(seconds),
        "gold": _share(report.gold),
    }
