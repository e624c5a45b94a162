"""The lead's and the reviewers' part beside one training run: audits, labels, tables."""

import time
from collections.abc import Generator, Iterator, Sequence

from trainer.client import AssayClient, AssayUnavailable
from trainer.demo.oracle import Reviewer, label_queue
from trainer.demo.plans import AuditPlan, PlannedTable
from trainer.demo.report import ESTIMANDS, Publication
from trainer.wire import Audit, AuditPayload, AuditWindow, EstimateAnswer

_WINDOW_LIMIT_S = 600.0
_ESTIMATES_LIMIT_S = 15.0
_SECOND_REVIEW_SHARE = 0.1


class CalibrationError(Exception):
    """No table can be made; the message says what did not happen."""


class Calibration:
    """Audits one run over the public API. `publications` and `n_labels` grow as it goes on.

    n_labels: reviews of any kind that the reviewers gave.
    """

    def __init__(
        self,
        lead: AssayClient,
        reviewers: Sequence[Reviewer],
        run: str,
        plan: AuditPlan,
        tables: Sequence[PlannedTable],
    ) -> None:
        """Starts the audits, which must come before the run's first rollout."""
        self._lead, self._reviewers, self._run = lead, reviewers, run
        self._plan, self._tables = plan, tables
        self.n_labels = 0
        self.publications: list[Publication] = []
        self._audits = self._started_audits()

    def publish_all(self) -> Iterator[None]:
        """Audit window after window; a table after each. Yields whenever it has to wait.

        Raises CalibrationError, or AssayError for what the server refuses.
        """
        for i, planned in enumerate(self._tables):
            window = yield from self._labelled_window(self._audits[min(i, 1)], planned)
            table = self._lead.build_table(
                self._run,
                rule=self._plan.rule,
                valid_from_step=planned.last_step + 1,
                valid_to_step=planned.valid_to_step,
            )
            self._lead.publish_table(table.id)
            n_labels = self.n_labels
            estimates = yield from self._estimates_of(window)
            self.publications.append(
                Publication(
                    version=table.version,
                    first_step=planned.first_step,
                    last_step=planned.last_step,
                    n_labels=n_labels,
                    estimates=estimates,
                )
            )

    def _started_audits(self) -> list[Audit]:
        """Of the warm-up, and of the windows after it."""
        warm_up, *others = self._tables
        payloads = [self._payload("warm-up", warm_up, warm_up, self._plan.warm_up)]
        if others:
            payloads.append(self._payload("windows", others[0], others[-1], self._plan.window))
        audits = [self._lead.create_audit(self._run, payload) for payload in payloads]
        for audit in audits:
            self._lead.start_audit(audit.id)
        return audits

    def _payload(
        self, name: str, first: PlannedTable, last: PlannedTable, budget: int
    ) -> AuditPayload:
        is_reviewed_again = self._plan.n_reviewers > 1
        return AuditPayload(
            name=name,
            first_step=first.first_step,
            last_step=last.last_step,
            window_steps=first.last_step - first.first_step + 1,
            budget=budget,
            waves=self._plan.waves,
            focus=dict.fromkeys(ESTIMANDS, 1.0),
            reviews_contradictions=is_reviewed_again,
            second_review_share=_SECOND_REVIEW_SHARE if is_reviewed_again else 0.0,
        )

    def _labelled_window(
        self, audit: Audit, planned: PlannedTable
    ) -> Generator[None, None, AuditWindow]:
        """The window, once the reviewers have labelled all of its waves."""
        deadline = time.monotonic() + _WINDOW_LIMIT_S
        while time.monotonic() < deadline:
            try:
                self.n_labels += label_queue(self._reviewers, audit.queue)
                for window in self._lead.audit(audit.id).windows:
                    if window.first_step == planned.first_step and window.state == "closed":
                        return window
            except AssayUnavailable:
                pass  # the server is busy: it is asked again
            yield
        steps = f"{planned.first_step}-{planned.last_step}"
        raise CalibrationError(
            f"the window of steps {steps} did not close in {_WINDOW_LIMIT_S:g} s"
        )

    def _estimates_of(
        self, window: AuditWindow
    ) -> Generator[None, None, dict[str, EstimateAnswer]]:
        """They are computed in the background: what is there after a while is what there is."""
        deadline = time.monotonic() + _ESTIMATES_LIMIT_S
        while True:
            found = {
                estimate.estimand: estimate
                for estimate in self._lead.estimates(self._run)
                if estimate.window == window.id and estimate.estimand in ESTIMANDS
            }
            if len(found) == len(ESTIMANDS) or time.monotonic() > deadline:
                return found
            yield
