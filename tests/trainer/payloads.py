"""One function per payload, every default filled."""

from typing import Any

from trainer.wire import (
    MessagePayload,
    PromptPayload,
    RolloutPayload,
    RunPayload,
    VerdictPayload,
    VerifierPayload,
)


def make_run(**changes: Any) -> RunPayload:
    defaults: dict[str, Any] = {
        "uid": "run-uid",
        "name": "demo",
        "seed": 0,
        "verifiers": (VerifierPayload("boxed-any", "1"),),
        "normaliser": "number-1",
        "group_size": 8,
        "config": {"grpo": {"lr": 0.0002}},
    }
    return RunPayload(**(defaults | changes))


def make_prompt(uid: str = "p-1", **changes: Any) -> PromptPayload:
    defaults: dict[str, Any] = {
        "text": "7 + 8 = ?",
        "references": ("15",),
        "domain": "arithmetic",
        "source": "reasoning-gym/chain_sum",
    }
    return PromptPayload(uid=uid, **(defaults | changes))


def make_verdict(**changes: Any) -> VerdictPayload:
    defaults: dict[str, Any] = {
        "verifier": "boxed-any",
        "version": "1",
        "outcome": "pass",
        "score": None,
        "extracted": "15",
        "path": "boxed",
        "form": "integer",
        "candidates": 1,
        "seconds": 0.0001,
    }
    return VerdictPayload(**(defaults | changes))


def make_rollout(uid: str = "c-1", *, content: str = "so 15", **changes: Any) -> RolloutPayload:
    defaults: dict[str, Any] = {
        "prompt": "p-1",
        "group": "g-1",
        "step": 8,
        "policy": "step-7",
        "messages": (MessagePayload("assistant", content),),
        "tokens": 34,
        "truncated": False,
        "probe": False,
        "reward": 0.98,
        "table_version": 2,
        "verdicts": (make_verdict(),),
    }
    return RolloutPayload(uid=uid, **(defaults | changes))
