"""OpenRLHF 0.11: `--reward.remote_url FILE.py`, where FILE imports `reward_func` from here.

Or, where the server is to judge: imports `remote_reward_func as reward_func`. OpenRLHF's own call
of a URL sends no token, and one in the URL would stand in its logs and the list of processes.

OpenRLHF scores one rollout at a time, so that cells have no answer share, and knows no None.
"""

from collections.abc import Sequence
from typing import Any

from trainer.integrations.scoring import (
    Completion,
    Judged,
    SettingsError,
    raw_value,
    references_in,
    scorer,
    server,
    settings,
)
from trainer.rewards import Scored, response_in
from trainer.verifiers import Item, undecided


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]
) -> dict[str, Any]:
    """`rewards`: what the table pays, for the advantage. `scores`: the raw verdict, for dynamic
    filtering; undecided counts as not accepted. `extra_logs`: numbers alone, as OpenRLHF takes no
    texts.

    queries: prompt and response as one decoded text; one that does not begin with its prompt (a
    cut prompt) is undecided. Raises SettingsError.
    """
    return answer_to(
        [
            _scored(query, prompt, label)
            for query, prompt, label in zip(queries, prompts, labels, strict=True)
        ]
    )


def remote_reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]
) -> dict[str, Any]:
    """The same, judged and looked up by the server.

    Raises SettingsError, AssayUnavailable (worth trying again) and AssayError.
    """
    run = settings().run
    if not run:
        raise SettingsError("ASSAY_URL, ASSAY_TOKEN, ASSAY_RUN: say which run's table pays")
    body = {"query": list(queries), "prompts": list(prompts), "labels": list(labels)}
    return dict(server().query_rewards(run, body, domain=settings().domain))


def answer_to(scored: Sequence[Scored]) -> dict[str, Any]:
    """OpenRLHF's answer: a list each, in the order of the queries."""
    verdicts = [raw_value(one) for one in scored]
    return {
        "rewards": [one.value for one in scored],
        "scores": [verdict or 0.0 for verdict in verdicts],
        "extra_logs": {
            "undecided": [float(verdict is None) for verdict in verdicts],
            "abstained": [float(one.reward.value is None) for one in scored],
            "table_version": [float(one.table_version or 0) for one in scored],
        },
    }


def _scored(query: str, prompt: str, label: Any) -> Scored:
    response = response_in(query, prompt)
    item = Item(problem=prompt, response=response or "", references=references_in(label))
    completion = Completion(item, domain=settings().domain)
    if response is not None:
        return scorer().score(completion)
    nobody_knows = undecided("the query does not begin with its prompt")
    verdicts = (nobody_knows,) * len(scorer().verifiers)
    return scorer().reward([completion], [Judged(verdicts, truncated=False, probe=False)])[0]
