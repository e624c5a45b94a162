"""A run whose queue asks for criteria, and a verifier that judges them."""

from uuid import uuid4

from review.accounts.models import User
from review.flows import audit, ingest, labels
from review.flows.ingest import IncomingVerdict
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.runs.models import Run
from review.sampling.models import AuditRule
from review.verifiers.models import Verdict, VerifierVersion
from tests import builders
from trainer.verifiers import Outcome

RIGHT, ODD, WRONG, HEDGE = builders.RESPONSES
RUBRIC = ["commits", "Is kind"]
# What a reviewer says of each kind of response, in the order of that rubric.
MET = {
    RIGHT: ("met", "met"),
    ODD: ("met", "met"),
    WRONG: ("met", "not_met"),
    HEDGE: ("not_met", "not_met"),
}
# And the verifier, which knows nothing of kindness.
SAID = {RIGHT: "pass", ODD: "undecided", WRONG: "fail", HEDGE: "pass"}


def text_of(rollout: object) -> str:
    text: str = rollout.messages[-1]["content"]  # type: ignore[attr-defined]
    return text


def label_criteria(rule: AuditRule, reviewer: User, *, rubric: list[str] = RUBRIC) -> None:
    """Answer the audit's queue, whose rubric this is, and close its wave."""
    rule.queue.rubric = rubric
    rule.queue.save()
    while item := take_next(queue=rule.queue, reviewer=reviewer):
        assert item.lease_token
        text = text_of(item.rollout)
        said = dict(zip(RUBRIC, MET[text], strict=True))
        answer = builders.rubric(text).answer
        labels.commit_label(
            assignment=item,
            reviewer=reviewer,
            token=item.lease_token,
            client_key=uuid4(),
            new=NewLabel(answer=answer, criteria=tuple(said[each] for each in rubric)),
        )
    audit.advance_window(window=rule.windows.get())


def make_criteria_run(run: Run, reviewer: User, *, rubric: list[str] = RUBRIC) -> Run:
    """64 rollouts, 16 of each kind, all of them labelled: estimates are what is counted."""
    builders.store_steps(run, [1, 2], groups=8)
    run.refresh_from_db()
    label_criteria(builders.open_audit(run, budget=64, waves=1), reviewer, rubric=rubric)
    return run


def judge_by_criteria(
    run: Run, *, until: int | None = None, name: str = "commits"
) -> VerifierVersion:
    """Verdicts of a rubric that runs elsewhere, with what it says of its one criterion."""
    said = [
        (
            rollout.uid,
            IncomingVerdict(
                verifier="rubric",
                version="1",
                outcome=Outcome.FAIL,
                path="all",
                form="none",
                candidates=0,
                record={"criteria": [{"name": name, "outcome": SAID[text_of(rollout)]}]},
            ),
        )
        for rollout in run.rollouts.filter(purged_at=None).order_by("pk")[:until]
    ]
    ingest.store_verdicts(run=run, channel="correctness", verdicts=said)
    return VerifierVersion.objects.get(project=run.project, name="rubric")


def records_of(verifier: VerifierVersion) -> list[object]:
    return list(Verdict.objects.filter(verifier=verifier).values_list("record", flat=True))
