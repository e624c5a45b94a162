"""What each estimate means and what it does not, in one sentence."""

from collections.abc import Mapping

from review.calibration.models import Estimand

# In the order in which pages show them.
MEANINGS: Mapping[str, tuple[str, str]] = {
    Estimand.RECALL: (
        "Recall",
        "Of the rollouts that are right, the share that the verifier accepts. The rest are right "
        "answers that training punishes.",
    ),
    Estimand.FPR: (
        "False-positive rate",
        "Of the rollouts that are wrong, the share that the verifier accepts. Each is paid as if "
        "it were right.",
    ),
    Estimand.PRECISION: (
        "Precision",
        "Of the rollouts that the verifier accepts, the share that is right. It falls when the "
        "policy gets worse, even if the verifier does not.",
    ),
    Estimand.ACCURACY: (
        "True accuracy",
        "The share of rollouts that are right, as reviewers judge. The verifier's own share may "
        "be higher or lower.",
    ),
    Estimand.HACK_RATE: (
        "Hack rate",
        "The share of rollouts that the verifier accepts and that reviewers mark as made to "
        "please a checker.",
    ),
    Estimand.REJECTED_CORRECT: (
        "Right among the rejected",
        "Of the rollouts that the verifier rejects, the share that is right. It says nothing of "
        "those that it accepts.",
    ),
}
# What a rule can aim at, and what a run is judged by.
MAIN = (Estimand.RECALL, Estimand.FPR, Estimand.ACCURACY, Estimand.HACK_RATE)
SCORED = (*MAIN[:2], Estimand.PRECISION, *MAIN[2:])
# Fewer labels than this show their interval alone.
FEWEST_FOR_POINT = 10


def label_of(estimand: str) -> str:
    return MEANINGS[estimand][0]
