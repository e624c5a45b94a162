"""GET runs/{id}/errata."""

from review.accounts.models import Project, User
from review.labeling.models import Answer
from review.labeling.services.judgements import NewLabel
from tests.api.calls import Caller
from tests.labeling import items
from tests.web.test_errata import report


def test_errata_are_listed_with_how_many_say_so(
    caller: Caller, project: Project, ben: User
) -> None:
    queue = items.open_queue(project)
    path = f"runs/{queue.rule.run_id}/errata"
    assert caller.get(path).json() == {"errata": []}
    for note in ("no x solves it", "none"):
        report(
            queue, ben, NewLabel(answer=Answer.CANNOT_TELL, problem_fault="no_answer", note=note)
        )
    (erratum,) = caller.get(path).json()["errata"]
    assert (erratum["prompt"], erratum["fault"], erratum["state"]) == ("p1", "no_answer", "open")
    assert (erratum["labels"], erratum["note"]) == (2, "no x solves it")
    assert (erratum["decision"], erratum["decided_by"], erratum["decided_at"]) == (None,) * 3
