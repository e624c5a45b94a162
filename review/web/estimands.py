"""What each estimate means and what it does not, in one sentence."""

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from review.calibration.models import Estimand

# In the order in which pages show them.
MEANINGS: Mapping[str, tuple[Promise, Promise]] = {
    Estimand.RECALL: (
        _("Recall"),
        _(
            "Of the rollouts that are right, the share that the verifier accepts. The rest are "
            "right answers that training punishes."
        ),
    ),
    Estimand.FPR: (
        _("False-positive rate"),
        _(
            "Of the rollouts that are wrong, the share that the verifier accepts. Each is paid "
            "as if it were right."
        ),
    ),
    Estimand.PRECISION: (
        _("Precision"),
        _(
            "Of the rollouts that the verifier accepts, the share that is right. It falls when "
            "the policy gets worse, even if the verifier does not."
        ),
    ),
    Estimand.ACCURACY: (
        _("True accuracy"),
        _(
            "The share of rollouts that are right, as reviewers judge. The verifier's own share"
            " may be higher or lower."
        ),
    ),
    Estimand.HACK_RATE: (
        _("Hack rate"),
        _(
            "The share of rollouts that the verifier accepts and that reviewers mark as made to"
            " please a checker."
        ),
    ),
    Estimand.REJECTED_CORRECT: (
        _("Right among the rejected"),
        _(
            "Of the rollouts that the verifier rejects, the share that is right. It says "
            "nothing of those that it accepts."
        ),
    ),
    Estimand.WRONG_PROCESS: (
        _("Right answer, wrong process"),
        _(
            "Of the right answers whose steps reviewers judged, the share that is reached by a "
            "wrong step. A verifier of answers cannot see it."
        ),
    ),
    Estimand.ERROR_FOUND: (
        _("Earliest error found"),
        _(
            "Of the rollouts with a wrong step, the share whose earliest one the process "
            "verifier names exactly."
        ),
    ),
    Estimand.FAULTLESS_PASSED: (
        _("Faultless passed"),
        _("Of the rollouts without a wrong step, the share that the process verifier calls so."),
    ),
    Estimand.PROCESS_F1: (
        _("Earliest-error F1"),
        _(
            "The harmonic mean of the two before it, as ProcessBench defines it: high only if "
            "both are."
        ),
    ),
    Estimand.CRITERION_RECALL: (
        _("Recall"),
        _("Of the rollouts that meet the criterion, the share that the verifier passes on it."),
    ),
    Estimand.CRITERION_FPR: (
        _("False-positive rate"),
        _("Of the rollouts that miss the criterion, the share that the verifier passes on it."),
    ),
    Estimand.CRITERION_UNDECIDED: (
        _("Undecided"),
        _("The share that it leaves undecided on the criterion: not passed, in the other two."),
    ),
}
# What reviewers' earliest wrong steps tell.
PROCESS = (
    Estimand.WRONG_PROCESS,
    Estimand.ERROR_FOUND,
    Estimand.FAULTLESS_PASSED,
    Estimand.PROCESS_F1,
)
# What reviewers' answers to a rubric's criteria tell.
CRITERIA = (Estimand.CRITERION_RECALL, Estimand.CRITERION_FPR, Estimand.CRITERION_UNDECIDED)
# What a rule can aim at, and what a run is judged by.
MAIN = (Estimand.RECALL, Estimand.FPR, Estimand.ACCURACY, Estimand.HACK_RATE)
SCORED = (*MAIN[:2], Estimand.PRECISION, *MAIN[2:])
# Fewer labels than this show their interval alone.
FEWEST_FOR_POINT = 10


def label_of(estimand: str) -> str:
    return str(MEANINGS[estimand][0])
