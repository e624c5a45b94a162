"""TRL 1.16: a reward function that pays by the run's table, and its callback, the server's side.

    reward = AssayReward("math", run="my-run-1", columns=Columns(references="answer"))
    GRPOTrainer(..., reward_funcs=reward, callbacks=[reward.callback()])

With several processes the main one alone talks to the server; all use the same table, and groups
are seen whole also where one lies across processes.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from trainer.client import AssayClient
from trainer.integrations.scoring import (
    DEFAULT_DOMAIN,
    Completion,
    Scorer,
    SettingsError,
    log_fields,
    references_in,
    text_of,
    warn,
)
from trainer.integrations.trl_rollouts import Row, Sender, messages_of
from trainer.rewards import RewardTable, Scored, TableError
from trainer.spool import RunLink
from trainer.verifiers import Item, Verifier, build
from trainer.wire import RunPayload, VerifierPayload

_REGISTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the data set say what; None = there is no such column.

    prompt_uid: without it a prompt goes by a digest of its text and references.
    """

    references: str
    domain: str | None = None
    prompt_uid: str | None = None


class AssayReward:
    """A reward function for `GRPOTrainer`; give its `callback()` to the same trainer.

    An undecided rollout that the table does not pay, or one that it leaves out, gets None: no
    advantage, and no part in its group's mean. The raw verdict, the cell and the table's version
    are logged with every completion, in columns that begin with the function's name.
    """

    def __init__(
        self,
        *verifiers: str | Verifier,
        run: str,
        columns: Columns,
        domain: str = DEFAULT_DOMAIN,
        directory: Path | str = "assay",
        client: AssayClient | None = None,
        detector: Verifier | None = None,
        name: str = "assay_reward",
    ) -> None:
        """verifiers: names or objects, the primary first. run: the run's uid, which names it for
        good: with the same uid and directory a resumed run goes on. domain: of prompts that have
        no column for it. directory: where rollouts wait that are not sent yet. client: None = by
        ASSAY_URL and ASSAY_TOKEN, whose scopes are `ingest` and `table`. detector: `build("probe")`
        looks for known hacks.

        Raises SettingsError, and what `trainer.verifiers.build` raises.
        """
        if not verifiers:
            raise SettingsError('name the verifier that judges: AssayReward("math", ...)')
        built = tuple(build(one) if isinstance(one, str) else one for one in verifiers)
        self.__name__ = name
        self._tables = _StepTable()
        self._scorer = Scorer(built, self._tables, detector)
        self._run, self._columns, self._domain = run, columns, domain
        self._directory = Path(directory)
        self._client = client or _client_of_the_environment()
        self._trainer: _TrainerFacts | None = None
        self._sender: Sender | None = None

    def __call__(
        self,
        *,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        trainer_state: Any,
        log_extra: Callable[[str, list[Any]], None],
        log_metric: Callable[[str, float], None],
        **columns: Any,
    ) -> list[float | None]:
        """TRL's call, with the rows of this process. Raises SettingsError."""
        if self._trainer is None:
            raise SettingsError(f"give {self.__name__}.callback() to the trainer's callbacks")
        from accelerate.utils import gather_object

        rows = self._rows(self._trainer, prompts, completions, completion_ids, columns)
        groups = _groups(gather_object(rows), self._trainer.group_size)
        scored = [
            self._scorer.reward([row.completion for row in group], [row.judged for row in group])
            for group in groups
        ]
        if self._sender is not None and self._trainer.is_training:
            self._sender.send(trainer_state.global_step + 1, groups, scored)
        first = self._trainer.process_index * len(rows)
        own = list(chain.from_iterable(scored))[first : first + len(rows)]
        self._log(own, log_extra, log_metric)
        return [one.reward.value for one in own]

    def callback(self) -> Any:
        """The `TrainerCallback` that refreshes the table between steps, sends the rollouts, and
        says when a step is complete and when the run is over."""
        from transformers import TrainerCallback

        reward = self

        class AssayCallback(TrainerCallback):
            def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                reward._trainer = _TrainerFacts(args, kwargs["model"], kwargs["processing_class"])

            def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                reward._begin(args)

            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                reward._refresh()

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if reward._sender is not None:
                    reward._sender.complete(state.global_step)

            def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                reward._end(is_finished=state.global_step >= state.max_steps)

        return AssayCallback()

    def _begin(self, args: Any) -> None:
        if args.process_index != 0:
            return
        self._end(is_finished=False)  # an earlier training that broke off
        verifiers = self._scorer.verifiers
        run = RunPayload(
            uid=self._run,
            name=self._run,
            seed=args.seed,
            verifiers=tuple(VerifierPayload(v.name, v.version, v.channel) for v in verifiers),
            normaliser=verifiers[0].normaliser,
            group_size=args.num_generations,
            config={"trl": _finite(args.to_sanitized_dict())},
        )
        link = RunLink(self._client, run, self._directory, warn=warn)
        _wait_for_registration(link)
        self._sender = Sender(link, self._directory, verifiers)

    def _refresh(self) -> None:
        from accelerate.utils import broadcast_object_list

        box = [None if self._sender is None else self._sender.link.latest_table()]
        broadcast_object_list(box)
        self._tables.read(box[0])
        self._scorer.table()  # refuses one for other verifiers, before anything is generated

    def _end(self, *, is_finished: bool) -> None:
        if self._sender is not None:
            self._sender.close(is_finished=is_finished)
            self._sender = None

    def _rows(
        self,
        trainer: "_TrainerFacts",
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        columns: Mapping[str, Any],
    ) -> list[Row]:
        asked = [
            self._completion(i, prompt, completion, columns, trainer.is_truncated(ids))
            for i, (prompt, completion, ids) in enumerate(
                zip(prompts, completions, completion_ids, strict=True)
            )
        ]
        return [
            Row(one, judged, messages_of(completion), len(ids))
            for one, judged, completion, ids in zip(
                asked, self._scorer.judge(asked), completions, completion_ids, strict=True
            )
        ]

    def _completion(
        self, row: int, prompt: Any, completion: Any, columns: Mapping[str, Any], truncated: bool
    ) -> Completion:
        def cell(column: str) -> Any:
            if column not in columns:
                raise SettingsError(f"the data set has no column {column!r}")
            return columns[column][row]

        problem, references = text_of(prompt), references_in(cell(self._columns.references))
        uid, domain = self._columns.prompt_uid, self._columns.domain
        return Completion(
            Item(problem=problem, response=text_of(completion), references=references),
            prompt=_digest(problem, references) if uid is None else str(cell(uid)),
            domain=self._domain if domain is None else str(cell(domain)),
            truncated=truncated,
        )

    def _log(
        self,
        scored: Sequence[Scored],
        log_extra: Callable[[str, list[Any]], None],
        log_metric: Callable[[str, float], None],
    ) -> None:
        fields = list(map(log_fields, scored))
        for name in ("verdict", "cell", "table_version"):
            log_extra(f"{self.__name__}_{name}", [row[name] for row in fields])
        accepted = sum(one.cell.is_accepted for one in scored)
        left_out = sum(one.reward.value is None for one in scored)
        log_metric(f"{self.__name__}/accepted", accepted / len(scored))
        log_metric(f"{self.__name__}/left_out", left_out / len(scored))


class _StepTable:
    """The table of the step at hand."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._table: RewardTable | None = None

    def current(self) -> RewardTable | None:
        return self._table

    def read(self, text: str | None) -> None:
        """Use this table from now on; what is no table of ours leaves the last one in use."""
        if text is None or text == self._text:
            return
        self._text = text
        try:
            self._table = RewardTable.from_json(text)
        except TableError as error:
            warn(f"the reward table is not used ({error})")


class _TrainerFacts:
    """What the reward function must know of the trainer and is not told in its call."""

    def __init__(self, args: Any, model: Any, processing_class: Any) -> None:
        self._args, self._model = args, model
        tokenizer = getattr(processing_class, "tokenizer", processing_class)
        ends = model.generation_config.eos_token_id
        self._ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        self._ends.update(ends if isinstance(ends, list) else [ends])

    @property
    def is_training(self) -> bool:
        """False while it evaluates, by the mark that TRL itself goes by."""
        return bool(self._model.training)

    @property
    def group_size(self) -> int:
        if self.is_training:
            return int(self._args.num_generations)
        return int(self._args.num_generations_eval or self._args.num_generations)

    @property
    def process_index(self) -> int:
        return int(self._args.process_index)

    def is_truncated(self, ids: Sequence[int]) -> bool:
        return bool(ids) and ids[-1] not in self._ends


def _wait_for_registration(link: RunLink) -> None:
    """So that the first step has the table that is there already; in vain while the server is
    away."""
    deadline = monotonic() + _REGISTER_S
    while link.run_id is None and monotonic() < deadline:
        sleep(0.02)


def _client_of_the_environment() -> AssayClient:
    url, token = os.environ.get("ASSAY_URL"), os.environ.get("ASSAY_TOKEN")
    if not url or not token:
        raise SettingsError("ASSAY_URL, ASSAY_TOKEN: set both, or give a client")
    return AssayClient(url, token)


def _groups(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """The rows' groups. TRL puts the completions of a prompt side by side, over all processes."""
    groups = [rows[first : first + size] for first in range(0, len(rows), size)]
    if any(len({row.completion.prompt for row in group}) > 1 for group in groups):
        raise SettingsError(
            f"{size} rows side by side are not of one prompt: prompts of different texts or"
            " references must not share a uid, and completions must come as GRPOTrainer makes them"
        )
    return groups


def _digest(problem: str, references: Sequence[str]) -> str:
    text = json.dumps([problem, *references])
    return "sha256-" + hashlib.sha256(text.encode()).hexdigest()


def _finite(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without the numbers that JSON cannot spell."""
    return {
        name: value
        for name, value in settings.items()
        if not isinstance(value, float) or math.isfinite(value)
    }
