"""A training run: everything it needs is opened and checked, then its stages follow each other."""

import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from transformers import PreTrainedModel

from trainer import checkpoint
from trainer.checkpoint import Checkpoint, Place
from trainer.client import AssayClient
from trainer.config import ConfigError, TrainerConfig
from trainer.data import Prompt, run_payload
from trainer.engines import Engine
from trainer.engines.own import OwnEngine
from trainer.hold import Hold
from trainer.judging import Judge
from trainer.metrics import METRICS_FILE, RunLog
from trainer.model import build_model, save_model, tokenizer_of
from trainer.policy import Policy
from trainer.ranks import Ranks
from trainer.run import Run, StopRequest
from trainer.spool import RunLink
from trainer.stages.cold_start import ColdStartStage
from trainer.stages.errors import TrainingError
from trainer.stages.grpo import GrpoStage
from trainer.stages.rejection import RejectionStage
from trainer.tables import TableFeed
from trainer.tasks import task_of
from trainer.tokenizers import Tokenizer
from trainer.verifiers import ParameterError

MODEL_FOLDER = "model"
# How long a run that ends waits for its last batches to be sent.
_FLUSH_S, _AWAY_FLUSH_S = 60.0, 20.0
_STAGES: dict[str, Any] = {
    "cold_start": ColdStartStage,
    "grpo": GrpoStage,
    "rejection": RejectionStage,
}


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    token: str

    @classmethod
    def from_environment(cls) -> "Server | None":
        url, token = os.environ.get("ASSAY_URL"), os.environ.get("ASSAY_TOKEN")
        if bool(url) != bool(token):
            raise ConfigError("ASSAY_URL and ASSAY_TOKEN: set both, or neither to train alone")
        return cls(url, token) if url and token else None


def train(
    config: TrainerConfig,
    *,
    out: Path,
    cold_starts: Path,
    uid: str | None = None,
    resume: bool = False,
    server: Server | None = None,
) -> None:
    """Train one policy; leave metrics, checkpoint, model and (on request) completions in `out`.

    Raises ConfigError, before anything is generated, for settings that cannot work; later
    TrainingError or HoldError, which leave a run that can be resumed.
    """
    if not resume and (out / METRICS_FILE).exists():
        raise ConfigError(f"--out: {out} holds a run; choose another folder or use --resume")
    start = Checkpoint(Place())
    if resume:
        uid, start = checkpoint.load(out, config)
    with ExitStack() as stack:
        run = opened(
            config,
            stack,
            out=out,
            cold_starts=cold_starts,
            uid=uid,
            first_step=start.first_step,
            server=server,
        )
        if not resume:
            run.save(start)  # a run that is stopped before its first step can go on, too
        _run_stages(run, start)


def opened(
    config: TrainerConfig,
    stack: ExitStack,
    *,
    out: Path,
    cold_starts: Path,
    uid: str | None = None,
    first_step: int = 0,
    server: Server | None = None,
) -> Run:
    """A run with all it needs; what must be closed is on the stack. Raises ConfigError.

    first_step: that it will make; later rows of its log are from before and are dropped.
    """
    if config.reward.source == "table" and server is None:
        raise ConfigError('reward.source: "table" needs a server, set ASSAY_URL and ASSAY_TOKEN')
    torch.set_num_threads(config.run.threads)
    ranks = Ranks()
    stack.callback(ranks.close)
    check_shares(config, ranks)
    task = task_of(config.task, n_held_out=_n_held_out(config))
    judge = _judge(config, task)
    tokenizer = tokenizer_of(config.model, task.vocabulary)
    held_out = task.held_out(config.run.eval_problems)
    _check_rewards(config, task.is_correct("", held_out[0]) is not None)
    first_problems = task.training(seed=config.run.seed, first=0, n=_n_problems(config))
    check_context(config, tokenizer, [*first_problems, *held_out])
    model = build_model(config.model, tokenizer, seed=config.run.seed)
    torch.nn.Module.to(model, ranks.device)
    engine = _engine(config, model, tokenizer, ranks)
    out.mkdir(parents=True, exist_ok=True)
    uid = ranks.from_first(uid or f"{config.run.name}-{uuid4().hex[:12]}")
    link = None
    if server is not None and ranks.is_first:
        client = stack.enter_context(_client(server))
        payload = run_payload(config, uid, judge.verifier)
        link = RunLink(client, payload, out / "link", warn=_warn)
        stack.callback(_flush, link)
    stop = stack.enter_context(StopRequest())
    verifier = f"{judge.verifier.name}@{judge.verifier.version}"
    tables = TableFeed(
        config.reward,
        link,
        out / "tables",
        verifier=verifier,
        wants_probabilities=config.objective.advantage == "expected",
        ranks=ranks,
        warn=_warn,
        is_stopping=lambda: stop.is_made,
    )
    tables.check()
    log = RunLog(
        out if ranks.is_first else None,
        n_steps=_n_steps(config),
        first_step=first_step,
        tensorboard=config.run.tensorboard,
        warn=_warn,
    )
    stack.callback(log.close)
    return Run(
        config=config,
        uid=uid,
        out=out,
        cold_starts=cold_starts,
        task=task,
        tokenizer=tokenizer,
        model=model,
        engine=engine,
        judge=judge,
        held_out=held_out,
        log=log,
        link=link,
        tables=tables,
        hold=Hold(
            link,
            on_hold=config.run.on_hold,
            ranks=ranks,
            warn=_warn,
            is_stopping=lambda: stop.is_made,
        ),
        ranks=ranks,
        stop=stop,
    )


def _run_stages(run: Run, start: Checkpoint) -> None:
    policy = run.ranks.wrapped(Policy(run.model))
    if run.ranks.is_first and run.ranks.size > 1:
        sys.stdout.write(f"{run.ranks}\n")
    place = start.place
    if "policy" in start.states:
        run.ranks.set_model_state(policy, start.states["policy"])
    for number in range(place.stage, len(run.config.stages)):
        stage = _STAGES[run.config.stages[number].kind](run, policy, number)
        if place.done:
            stage.restore(start)
        elif place.steps == 0 and run.config.stages[number].kind != "cold_start":
            run.log.add({"step": 0, **run.evaluate()})
        place = stage.train(place)
        if run.is_stopping():
            run.stopped(place)
            return
        _pass_gate(run, number, place)
        place = place.next_stage()
    _save_model(run)
    if run.link is not None:
        run.link.finish("finished")


def _save_model(run: Run) -> None:
    """What was trained, where it is whole: a model of its own on the first process."""
    state = run.ranks.model_state(run.model)
    if run.ranks.is_first:
        model = run.new_model()
        model.load_state_dict(state)
        save_model(model, run.tokenizer, run.out / MODEL_FOLDER)


def _pass_gate(run: Run, number: int, place: Place) -> None:
    """Raises TrainingError where the stage did not reach what the next one needs."""
    stage = run.config.stages[number]
    if stage.gate == 0.0:
        return
    reached = run.evaluate()["eval_reward"] or 0.0
    if reached < stage.gate:
        raise TrainingError(
            f"stage {number + 1} ({stage.kind}) ended at step {place.steps} with"
            f" {reached:.3f} of the held-out problems accepted, under its gate of {stage.gate:g}:"
            " the next stage would build on too little. Train it longer, or lower stages.gate"
        )


def make_cold_start(config: TrainerConfig, *, cold_starts: Path, scratch: Path) -> None:
    """Only make the policy that training starts from. Raises ConfigError."""
    with ExitStack() as stack:
        run = opened(config, stack, out=scratch, cold_starts=cold_starts)
        numbers = [i for i, stage in enumerate(config.stages) if stage.kind == "cold_start"]
        for number in numbers[:1]:
            ColdStartStage(run, run.ranks.wrapped(Policy(run.model)), number).train(Place())


# Checks, all before anything is generated


def check_context(config: TrainerConfig, tokenizer: Tokenizer, prompts: Iterable[Prompt]) -> None:
    """Raises ConfigError when the longest prompt and its completion exceed the model's context."""
    longest = max(len(tokenizer.encode_prompt(text)) for text in {p.text for p in prompts})
    budget = max(grpo.max_new_tokens for grpo in _grpo_sections(config))
    needed = longest + budget
    if needed > config.model.context:
        raise ConfigError(
            f"model.context: {config.model.context} is too short for the longest prompt"
            f" ({longest} tokens) and grpo.max_new_tokens ({budget});"
            f" make it at least {needed}"
        )


def check_shares(config: TrainerConfig, ranks: Ranks) -> None:
    """Raises ConfigError where the work cannot be shared out to the processes evenly."""
    counts = {
        "grpo.prompts_per_step": [grpo.prompts_per_step for grpo in _grpo_sections(config)],
        "run.eval_problems": [config.run.eval_problems],
        "cold_start.batch_size": [config.cold_start.batch_size],
        "cold_start.check_problems": [config.cold_start.check_problems],
        "rejection.problems": [config.rejection.problems],
    }
    smallest = min(config.at_stage(n).rejection.batch_size for n in range(len(config.stages)))
    if smallest < ranks.size:
        raise ConfigError(
            f"rejection.batch_size: {smallest} is too few for {ranks.size} processes; make it at"
            f" least {ranks.size}"
        )
    for key, values in counts.items():
        for value in values:
            if value % ranks.size:
                raise ConfigError(
                    f"{key}: {value} cannot be shared out to {ranks.size} processes; make it a"
                    " multiple"
                )


def _check_rewards(config: TrainerConfig, has_rubric: bool) -> None:
    if config.reward.source == "true" and not has_rubric:
        raise ConfigError(
            'reward.source: "true" needs a task that knows what is right; only the kind "sums" does'
        )


def _judge(config: TrainerConfig, task: Any) -> Judge:
    try:
        return Judge.of(config.reward, task, seed=config.run.seed)
    except ParameterError as error:
        raise ConfigError(f"reward.parameters.{error}") from error


def _engine(
    config: TrainerConfig, model: PreTrainedModel, tokenizer: Tokenizer, ranks: Ranks
) -> Engine:
    if config.sampling.engine == "own":
        return OwnEngine(model, tokenizer, seed=config.run.seed)
    if ranks.size > 1:
        raise ConfigError(
            'sampling.engine: "vllm" samples for one process alone; start one, or make it "own"'
        )
    from trainer.engines.vllm import VllmEngine

    return VllmEngine(model, tokenizer, config)


def _grpo_sections(config: TrainerConfig) -> list[Any]:
    return [config.at_stage(number).grpo for number in range(len(config.stages))]


def _n_held_out(config: TrainerConfig) -> int:
    return max(config.run.eval_problems, config.cold_start.check_problems)


def _n_problems(config: TrainerConfig) -> int:
    """How many problems the run may ask."""
    return max(1, sum(_problems_of(config.at_stage(i), i) for i in range(len(config.stages))))


def _problems_of(config: TrainerConfig, number: int) -> int:
    match config.stages[number].kind:
        case "grpo":
            grpo = config.grpo
            return grpo.steps * grpo.prompts_per_step * (1 + grpo.extra_batches)
        case "rejection":
            return config.rejection.problems
    return 0


def _n_steps(config: TrainerConfig) -> int:
    sections = [config.at_stage(number) for number in range(len(config.stages))]
    counts = {"cold_start": [0] * len(sections), "rejection": [1] * len(sections)}
    counts["grpo"] = [section.grpo.steps for section in sections]
    return sum(counts[stage.kind][number] for number, stage in enumerate(config.stages))


def _client(server: Server) -> AssayClient:
    try:
        return AssayClient(server.url, server.token)
    except ValueError as error:
        raise ConfigError(f"ASSAY_URL, ASSAY_TOKEN: {error}") from error


def _warn(message: str) -> None:
    sys.stderr.write(f"warning: {message}\n")


def _flush(link: RunLink) -> None:
    wait_s = _AWAY_FLUSH_S if link.is_away else _FLUSH_S
    if link.is_away and link.unsent:
        _warn(f"waiting up to {wait_s:.0f} s for the server to take {link.unsent} batches")
    unsent = link.close(wait_s)
    if unsent:
        _warn(f"{unsent} batches are not sent yet; they are kept and sent when the run goes on")
