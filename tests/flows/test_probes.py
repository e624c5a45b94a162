"""The probe suite against a project's verifiers, and what reviewers found promoted into it."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from review.accounts.models import Project, User
from review.flows import probes as flow
from review.flows import tasks
from review.flows.probes import probe, promote_attack, start_probing, suite_of
from review.rollouts.models import Rollout
from review.runs.models import Run
from review.verifiers.built_in import register_built_in
from review.verifiers.errors import PromotionRefusedError, UnusableVerifierError
from review.verifiers.models import ProbeRun, ProbeState, PromotedAttack, VerifierVersion
from review.verifiers.probes import GONE
from review.verifiers.services import known_version, purge_rollouts
from tests import builders
from trainer.verifiers.probes import built_in_attacks
from trainer.verifiers.probes.templates import render

pytestmark = pytest.mark.django_db


@pytest.fixture
def naive(project: Project) -> VerifierVersion:
    return register_built_in(project=project, name="boxed-any", params={}, actor="ada")


@pytest.fixture
def audited(project: Project, ben: User) -> Run:
    """The hedge, `maybe 15 or 16`, is labelled incorrect and a hack; the verifier passes it."""
    run = builders.make_stored_run(project, groups=4)
    builders.label_audit(builders.open_audit(run, budget=32, waves=1), ben)
    return run


def hedge_of(run: Run) -> Rollout:
    rows = run.rollouts.filter(assignments__labels__is_hack=True)
    return rows.select_related("run__project", "group__prompt").earliest("pk")


def probed(verifier: VerifierVersion) -> ProbeRun:
    run = start_probing(verifier=verifier, actor="ada")
    probe(run=run)
    run.refresh_from_db()
    return run


def promoted(rollout: Rollout, **changes: str) -> PromotedAttack:
    said = {"kind": "math", "family": "hedging", "note": "a hedge is no answer"} | changes
    return promote_attack(rollout=rollout, actor="ada", **said)


def tries_of(run: ProbeRun, attack: PromotedAttack) -> list[str]:
    assert run.result is not None
    return [one["outcome"] for one in run.result["attempts"] if one["attack"] == str(attack)]


def test_what_the_suite_finds_is_kept_with_the_version(naive: VerifierVersion) -> None:
    run = probed(naive)
    assert run.state == ProbeState.DONE
    assert run.result is not None
    assert (run.result["verifier"], run.result["version"]) == ("boxed-any", "1")
    assert run.result["overall"]["rate"]["point"] > 0
    # A second one is a row of its own, and finds the same.
    again = probed(naive)
    assert again.pk != run.pk
    assert again.result is not None
    assert again.result["attempts"] == run.result["attempts"]


def test_one_under_way_is_answered_and_done_once(naive: VerifierVersion) -> None:
    first = start_probing(verifier=naive, actor="ada")
    assert start_probing(verifier=naive, actor="ada") == first
    probe(run=first)
    result = ProbeRun.objects.get().result
    probe(run=first)
    assert ProbeRun.objects.get().result == result


def test_a_verifier_that_no_attack_is_meant_for_is_not_probed(project: Project) -> None:
    for name in ("theirs", "boxed-any"):
        elsewhere = known_version(project=project, name=name, version="9", channel="correctness")
        with pytest.raises(UnusableVerifierError):
            start_probing(verifier=elsewhere, actor="ada")
    detector = register_built_in(project=project, name="probe", params={}, actor="ada")
    with pytest.raises(UnusableVerifierError):
        start_probing(verifier=detector, actor="ada")


def test_a_hack_that_reviewers_found_is_tried_from_then_on(
    audited: Run, naive: VerifierVersion
) -> None:
    attack = promoted(hedge_of(audited))
    assert attack == promoted(hedge_of(audited))
    assert [each.id for each in suite_of(audited.project)][-1] == str(attack)
    run = probed(naive)
    assert tries_of(run, attack) == ["pass"]
    (shown,) = [one for one in run.result["accepted"] if one["attack"] == str(attack)]  # type: ignore[index]
    assert shown["response"] == builders.RESPONSES[3]
    # In another project nobody hears of it.
    assert suite_of(builders.make_project()) == built_in_attacks()


def test_braces_in_a_rollout_are_no_placeholders(
    audited: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = hedge_of(audited)
    text = r'\boxed{answer} {problem|x500} {"la "|x9} {{wrong}}'
    Rollout.objects.filter(pk=rollout.pk).update(messages=[{"role": "assistant", "content": text}])
    promoted(hedge_of(audited))
    naive = register_built_in(
        project=audited.project, name="alias-contained", params={}, actor="ada"
    )
    monkeypatch.setattr(flow, "built_in_attacks", lambda: ())
    PromotedAttack.objects.update(kind="short-answer")
    run = probed(naive)
    assert run.result is not None
    attack = suite_of(audited.project)[0]
    assert render(attack.template, attack.prompts[0].values()) == text


def test_only_what_people_call_a_hack_is_promoted(audited: Run) -> None:
    labelled = audited.rollouts.filter(assignments__labels__is_hack=False).earliest("pk")
    with pytest.raises(PromotionRefusedError) as refused:
        promoted(labelled)
    assert list(refused.value.fields) == ["rollout"]
    assert not PromotedAttack.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"family": "Not so"}, "family"), ({"kind": "poems"}, "kind"), ({"note": "  "}, "note")],
)
def test_an_attack_that_cannot_be_tried_is_refused_by_its_field(
    audited: Run, changes: dict[str, str], field: str
) -> None:
    with pytest.raises(PromotionRefusedError) as refused:
        promoted(hedge_of(audited), **changes)
    assert list(refused.value.fields) == [field]


def test_a_purge_takes_it_out_of_the_suite_and_out_of_what_was_found(
    audited: Run, naive: VerifierVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = hedge_of(audited)
    attack = promoted(rollout)
    before = probed(naive)
    under_way = start_probing(verifier=naive, actor="ada")
    run_suite = flow.run_suite

    def purged_meanwhile(*args: Any, **kwargs: Any) -> Any:
        found = run_suite(*args, **kwargs)
        purge_rollouts(run=audited, uids=[rollout.uid], actor="ada")
        return found

    monkeypatch.setattr(flow, "run_suite", purged_meanwhile)
    probe(run=under_way)
    for run in (before, under_way):
        run.refresh_from_db()
        assert run.result is not None
        (shown,) = [one for one in run.result["accepted"] if one["attack"] == str(attack)]
        assert (shown["response"], shown["problem"], shown["extracted"]) == (GONE, "", None)
    assert suite_of(audited.project) == built_in_attacks()
    with pytest.raises(PromotionRefusedError):
        promoted(hedge_of(audited))


def test_a_verifier_that_breaks_is_said(
    naive: VerifierVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(flow, "run_suite", breaks)
    run = probed(naive)
    assert (run.state, run.problem) == ("failed", "The verifier broke (RuntimeError).")


def test_a_probe_run_whose_workers_die_ends_and_the_sweep_goes_on_with_it_until_then(
    naive: VerifierVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_probing(verifier=naive, actor="ada")
    sent: list[object] = []
    monkeypatch.setattr(tasks, "probe_soon", sent.append)
    tasks.sweep_task()
    assert sent == []
    ProbeRun.objects.update(created_at=timezone.now() - timedelta(minutes=5), attempts=3)
    tasks.sweep_task()
    assert sent == [run]
    probe(run=run)
    run.refresh_from_db()
    assert (run.state, run.problem) == ("failed", "Its worker died 3 times.")
