"""How the rollouts of a training with TRL reach the server: through the spool, each once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from trainer.data import verdict_payload
from trainer.integrations.scoring import Completion, Judged, text_of, warn
from trainer.outbox import write_durably
from trainer.rewards import Scored
from trainer.spool import RunLink
from trainer.verifiers import Verifier
from trainer.wire import MessagePayload, PromptPayload, RolloutPayload, ToolCallPayload

_FLUSH_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """A completion that has been judged, and what the server wants to know of it."""

    completion: Completion
    judged: Judged
    messages: tuple[MessagePayload, ...]
    tokens: int


class Sender:
    """The main process's way to the server, through the spool.

    A step that has been sent whole by an earlier session (the run goes on from an older
    checkpoint) is not sent again: its rollouts may have been drawn and labelled.
    """

    def __init__(self, link: RunLink, directory: Path, verifiers: Sequence[Verifier]) -> None:
        self.link = link
        self._verifiers = verifiers
        self._session = uuid4().hex[:12]
        self._groups = 0
        self._prompts: set[str] = set()
        self._completed_file = directory / "completed_step"
        self._completed = _number_in(self._completed_file)
        self._is_warned = False

    def send(
        self, step: int, groups: Sequence[Sequence[Row]], scored: Sequence[Sequence[Scored]]
    ) -> None:
        """Keep the step's groups in the spool."""
        if step <= self._completed:
            self._warn_of_sent_steps()
            return
        prompts, rollouts = [], []
        for group, rewards in zip(groups, scored, strict=True):
            prompts += self._new_prompt(group[0].completion)
            uid = f"{step}/{self._session}-{self._groups}"
            self._groups += 1
            rollouts += [
                self._rollout(f"{uid}/{i}", uid, step, row, one)
                for i, (row, one) in enumerate(zip(group, rewards, strict=True))
            ]
        if prompts:
            self.link.send_prompts(prompts)
        self.link.send_rollouts(rollouts)

    def complete(self, step: int) -> None:
        """Every rollout of the steps up to this one is in the spool."""
        if step > self._completed:
            self._completed = step
            # First: said twice it does no harm, but what comes after it for this step is refused.
            write_durably(self._completed_file, str(step).encode())
            self.link.complete_step(step)

    def close(self, *, is_finished: bool) -> None:
        """Wait until all is sent, or leave the rest to the next session."""
        if is_finished:
            self.link.finish("finished")
        if unsent := self.link.close(_FLUSH_S):
            warn(f"{unsent} batches are not sent yet; they are kept and sent when the run goes on")

    def _new_prompt(self, completion: Completion) -> list[PromptPayload]:
        uid = completion.prompt or ""
        if uid in self._prompts:
            return []
        self._prompts.add(uid)
        return [
            PromptPayload(
                uid=uid,
                text=completion.item.problem or " ",
                references=completion.item.references,
                domain=completion.domain,
                source="",
            )
        ]

    def _rollout(self, uid: str, group: str, step: int, row: Row, scored: Scored) -> RolloutPayload:
        return RolloutPayload(
            uid=uid,
            prompt=row.completion.prompt or "",
            group=group,
            step=step,
            policy=f"step-{step - 1}",
            messages=row.messages,
            tokens=row.tokens,
            truncated=row.completion.truncated,
            probe=row.judged.probe,
            reward=scored.reward.value,
            table_version=scored.table_version,
            verdicts=tuple(
                verdict_payload(verdict, verifier)
                for verifier, verdict in zip(self._verifiers, row.judged.verdicts, strict=True)
            ),
        )

    def _warn_of_sent_steps(self) -> None:
        if not self._is_warned:
            warn(
                f"the steps up to {self._completed} of this run have been sent before and are not"
                " sent again; to start over, name another run and directory"
            )
        self._is_warned = True


def messages_of(completion: Any) -> tuple[MessagePayload, ...]:
    if isinstance(completion, str):
        return (MessagePayload("assistant", completion),)
    return tuple(
        MessagePayload(
            role=message["role"],
            content=text_of([message]),
            name=message.get("name") or "",
            tool_calls=tuple(map(_tool_call, message.get("tool_calls") or ())),
            call_id=message.get("tool_call_id") or "",
        )
        for message in completion
    )


def _tool_call(call: Mapping[str, Any]) -> ToolCallPayload:
    function = call.get("function", call)
    arguments = function.get("arguments", "")
    return ToolCallPayload(
        name=str(function.get("name", "")),
        arguments=arguments if isinstance(arguments, str) else json.dumps(arguments),
        id=str(call.get("id") or ""),
    )


def _number_in(path: Path) -> int:
    return int(path.read_bytes()) if path.exists() else -1
