"""Real input over real HTTP: EVOUNA imported as a run, audited, and its reward table pulled."""

import json
import time
from itertools import islice
from uuid import uuid4

import pytest
from pytest_django.live_server_helper import LiveServer

from tests import builders, evouna
from trainer.client import AssayClient
from trainer.wire import (
    Assignment,
    AuditPayload,
    LabelPayload,
    MessagePayload,
    PromptPayload,
    RolloutPayload,
    RunPayload,
    VerdictPayload,
    VerifierPayload,
)

BATCH = 1000
BUDGET = 300


@evouna.needs_evouna
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_evouna_is_imported_audited_and_calibrated_over_http(
    live_server: LiveServer, worker: None
) -> None:
    project = builders.make_project("TriviaQA")
    secret = builders.make_token(project, "ingest", "table", "label", "lead")
    with AssayClient(live_server.url, secret) as client:
        answers = list(evouna.completions())
        run = import_run(client, answers)

        audit = client.create_audit(
            run,
            AuditPayload(
                name="answers",
                first_step=0,
                last_step=0,
                window_steps=1,
                budget=BUDGET,
                waves=4,
                focus={"recall": 1, "fpr": 1, "accuracy": 1, "hack_rate": 1},
            ),
        )
        client.start_audit(audit.id)
        truth = {(a.problem, squeezed(a.text)): a.is_correct for a in answers}
        label_all(client, audit.id, audit.queue, truth)

        estimates = {e.estimand: e for e in client.estimates(run) if e.window is None}
        assert estimates["recall"].n == BUDGET
        # Five standard errors of a 300-label audit about the truth over all 9,690 answers.
        assert estimates["recall"].point == pytest.approx(0.903, abs=0.065)
        assert estimates["fpr"].point == pytest.approx(0.023, abs=0.05)
        assert estimates["rejected_correct"].point == pytest.approx(0.356, abs=0.25)
        assert estimates["recall"].high - estimates["recall"].low < 0.1

        draft = client.build_table(
            run, rule="demote_or_abstain", valid_from_step=1, valid_to_step=10
        )
        client.publish_table(draft.id)
        table = client.reward_table(run)
        assert json.loads(table.text or "")["n_labels"] == BUDGET
        assert client.reward_table(run, etag=table.etag).text is None


def import_run(client: AssayClient, answers: list[evouna.Completion]) -> str:
    run = client.register_run(
        RunPayload(
            uid="evouna-tq",
            name="TriviaQA, five systems",
            seed=0,
            verifiers=(VerifierPayload(name="alias-contained", version=evouna.VERIFIER.version),),
            normaliser="squad-1",
            group_size=5,
            config={},
        )
    )
    prompts = {
        a.prompt: PromptPayload(
            uid=a.prompt,
            text=a.problem,
            references=(a.reference,),
            domain="trivia",
            source="EVOUNA TriviaQA",
        )
        for a in answers
    }
    client.send_prompts(run, list(prompts.values()))
    rollouts = map(rollout_payload, answers)
    while batch := list(islice(rollouts, BATCH)):
        client.send_rollouts(run, batch)
        assert client.send_rollouts(run, batch) == len(batch)
    client.complete_step(run, 0)
    return run


def rollout_payload(answer: evouna.Completion) -> RolloutPayload:
    verdict = answer.verdict
    return RolloutPayload(
        uid=answer.uid,
        prompt=answer.prompt,
        group=answer.prompt,
        step=0,
        policy=answer.policy,
        messages=(MessagePayload(role="assistant", content=answer.text),),
        tokens=len(answer.text.split()),
        truncated=False,
        probe=False,
        reward=None,
        table_version=None,
        verdicts=(
            VerdictPayload(
                verifier="alias-contained",
                version=evouna.VERIFIER.version,
                outcome=verdict.outcome,
                score=verdict.score,
                extracted=verdict.extracted,
                path=verdict.path,
                form=verdict.form,
                candidates=verdict.candidates,
                seconds=verdict.seconds,
            ),
        ),
    )


def label_all(
    client: AssayClient, audit: str, queue: str, truth: dict[tuple[str, str], bool]
) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        while assignment := client.take(queue):
            is_correct = truth[assignment.problem, squeezed(text_of(assignment))]
            client.label(
                assignment,
                LabelPayload(
                    client_key=str(uuid4()), answer="correct" if is_correct else "incorrect"
                ),
            )
        if client.audit(audit).state == "finished":
            return
        time.sleep(0.1)
    pytest.fail("the audit did not finish")


def text_of(assignment: Assignment) -> str:
    return " ".join(text for _, text in assignment.steps)


def squeezed(text: str) -> str:
    return " ".join(text.split())
