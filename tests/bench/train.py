"""`make bench-train`: how fast does the trainer train, and in how much memory, beside TRL's?

The same two models (random weights: the demo's shape, and one of about 100 million parameters), the
same prompts, groups, lengths, objective (DAPO's, one update a step) and optimiser, each side in a
process of its own, one after the other. A third side is ours with a critic (PPO, no KL term): what
the group's baseline saves. A step's time is its sampling, its rewards and its update;
tokens are those sampled plus those trained on. The first steps are not counted.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.reward_path import measure as measure_reward_path

THREADS = 2
SIDES = ("ours", "trl", "critic")
LEAST_SPEED, MOST_REWARD_SHARE, LEAST_LOOKUPS = 1.5, 0.01, 1_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """What both sides train."""

    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    vocabulary: int
    prompts: int  # of a step
    group: int
    new_tokens: int
    steps: int
    warm_up: int  # steps that are not counted


SIZES = {
    "tiny": Size(3, 96, 288, 4, 2_000, 32, 8, 60, 12, 2),
    "100M": Size(12, 768, 2_048, 12, 16_000, 4, 8, 64, 4, 1),
}
CHAT_TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"


def problems(n: int) -> list[str]:
    """Word problems of a paragraph, of `reasoning-gym`'s GSM-symbolic."""
    import reasoning_gym

    dataset = reasoning_gym.create_dataset("gsm_symbolic", seed=0, size=n)
    return [item["question"] for item in dataset]


def make_model(size: Size, folder: Path) -> None:
    """A model of this shape and a tokenizer of the problems' own words, as both sides load them."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocabulary,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(problems(500), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden_size,
        intermediate_size=size.intermediate_size,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=1024,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@dataclass(frozen=True, slots=True)
class Measured:
    """seconds: of each counted step. tokens: sampled and trained on, in all counted steps.
    peak_mib: most memory the process had; start_mib: what it had before its first step."""

    seconds: Sequence[float]
    tokens: int
    peak_mib: float
    start_mib: float
    settings: dict[str, Any]

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / sum(self.seconds)


def run_ours(size: Size, model: Path, folder: Path, objective: str = "dapo") -> Measured:
    from trainer.config import TrainerConfig
    from trainer.metrics import read_rows
    from trainer.train import train

    asked = folder / "problems.jsonl"
    # A fifth may be held out; each step then asks all the others.
    n_held_out = max(1, size.prompts // 8)
    lines = [{"prompt": text, "reference": "0"} for text in problems(size.prompts + n_held_out)]
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings: dict[str, Any] = {
        "run": {"threads": THREADS, "eval_every": 10**6, "eval_problems": n_held_out}
        | {"checkpoint_every": 10**6},
        "model": {"path": str(model), "context": 1024},
        "task": {"kind": "jsonl", "path": str(asked)},
        "cold_start": {"check_problems": n_held_out},
        "grpo": {
            **{"steps": size.steps, "prompts_per_step": size.prompts, "group_size": size.group},
            **{"max_new_tokens": size.new_tokens, "minibatches": 1, "learning_rate": 1e-6},
            **{"warm_up_steps": 1, "overlong_buffer": 1},
        },
        "objective": {"name": objective, "kl": 0.0},
        "critic": {"warm_up_steps": 0},
        "reward": {"source": "random"},
        "stages": [{"kind": "grpo"}],
    }
    start = resident_mib()
    train(TrainerConfig.from_dict(settings), out=folder / "run", cold_starts=folder)
    rows = [row for row in read_rows(folder / "run") if row["step"]][size.warm_up :]
    n_rollouts = size.prompts * size.group
    tokens = sum(2 * int((row["mean_tokens"] or 0) * n_rollouts) for row in rows)
    seconds = [float(row["seconds"] or 0.0) for row in rows]
    return Measured(seconds, tokens, peak_mib(), start, settings["grpo"])


def run_trl(size: Size, model: Path, folder: Path) -> Measured:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(THREADS)
    n_rollouts = size.prompts * size.group
    settings: dict[str, Any] = {
        **{"per_device_train_batch_size": n_rollouts, "num_generations": size.group},
        **{"max_completion_length": size.new_tokens, "max_steps": size.steps},
        **{"loss_type": "dapo", "scale_rewards": "group", "beta": 0.0, "temperature": 1.0},
        **{"epsilon": 0.2, "epsilon_high": 0.28, "num_iterations": 1, "learning_rate": 1e-6},
        **{"gradient_checkpointing": False, "optim": "adamw_torch_fused", "bf16": False},
    }
    lengths: list[int] = []

    def coin(completion_ids: list[list[int]], **_: Any) -> list[float]:
        lengths.append(sum(map(len, completion_ids)))
        return [float(hash(tuple(ids)) % 2) for ids in completion_ids]

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.marks: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.marks.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.marks.append(time.perf_counter())

    clock = Clock()
    arguments = GRPOConfig(
        output_dir=str(folder / "run"),
        use_cpu=True,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        shuffle_dataset=False,
        seed=0,
        **settings,
    )
    asked = [[{"role": "user", "content": text}] for text in problems(size.prompts)]
    dataset = Dataset.from_dict({"prompt": asked * size.steps})
    start = resident_mib()
    GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        reward_funcs=coin,
        args=arguments,
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(model),
        callbacks=[clock],
    ).train()
    seconds = [end - begin for begin, end in zip(clock.marks[::2], clock.marks[1::2], strict=True)]
    tokens = 2 * sum(lengths[size.warm_up :])
    return Measured(seconds[size.warm_up :], tokens, peak_mib(), start, settings)


def sampling_speeds(name: str, folder: Path) -> dict[str, float]:
    """Tokens a second of sampling alone, each way after a first pass: ours, our way through any
    model's own cache, and transformers' three: plain, static cache, continuous batching."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from trainer.generation import BlockDecoder, CacheDecoder, left_pad, sample, uniforms

    torch.set_num_threads(THREADS)
    size, model_folder = SIZES[name], folder / "model"
    make_model(size, model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=True, return_dict=False
        )
        for text in problems(size.prompts)
    ]
    uniform_NT = uniforms(0, shape=(size.prompts * size.group, size.new_tokens))
    settings: dict[str, Any] = {"do_sample": True, "top_k": 0, "pad_token_id": 0}
    settings |= {"max_new_tokens": size.new_tokens, "eos_token_id": 1}

    def ours(decoder: Any) -> int:
        found = sample(model, prompts, uniform_NT, pad_id=0, eos_ids=[1], decoder=decoder)
        return int(found.mask_NT.sum())

    def generated(cache: str | None) -> int:
        prompt_BL, start_B = left_pad(prompts, 0)
        is_real_BL = (torch.arange(prompt_BL.shape[1]) >= start_B[:, None]).long()
        rows = torch.arange(size.prompts).repeat_interleave(size.group)
        with torch.no_grad():
            found = model.generate(
                input_ids=prompt_BL[rows],
                attention_mask=is_real_BL[rows],
                cache_implementation=cache,
                **settings,
            )
        made = found[:, prompt_BL.shape[1] :]
        return int((made != 0).sum())

    def batched() -> int:
        found = model.generate_batch(
            inputs=[ids for ids in prompts for _ in range(size.group)],
            generation_config=GenerationConfig(**settings),
        )
        return sum(len(one.generated_tokens) for one in found.values())

    ways: dict[str, Callable[[], int]] = {
        "ours": lambda: ours(BlockDecoder),
        "ours, any model": lambda: ours(CacheDecoder),
        "generate": lambda: generated(None),
        "generate, static cache": lambda: generated("static"),
        "continuous batching": batched,
    }
    speeds = {}
    for way, run in ways.items():
        if run is not batched:
            run()
        started = time.perf_counter()
        n_tokens = run()
        speeds[way] = n_tokens / (time.perf_counter() - started)
    return speeds


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def apart(side: str, name: str) -> Any:
    """What one side measures, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.train", "--side", side, "--size", name]
        environment = os.environ | {
            **{"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "PASSIVE"},
            **{"PYTHONHASHSEED": "0", "TRL_EXPERIMENTAL_SILENCE": "1"},
        }
        found = subprocess.run(
            [*command, "--folder", folder],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode:
            sys.stderr.write(found.stderr)
            raise SystemExit(f"{side}, {name}: exit status {found.returncode}")
        return json.loads(found.stdout.splitlines()[-1])


def one_side(side: str, name: str, folder: Path) -> None:
    if side == "sampling":
        print(json.dumps(sampling_speeds(name, folder)))
        return
    size, model = SIZES[name], folder / "model"
    make_model(size, model)
    sides = {
        "ours": lambda: run_ours(size, model, folder),
        "critic": lambda: run_ours(size, model, folder, "ppo"),
        "trl": lambda: run_trl(size, model, folder),
    }
    result = sides[side]()
    print(json.dumps(asdict(result)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.train")
    parser.add_argument("--side", choices=(*SIDES, "sampling"))
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.side:
        one_side(options.side, options.size, options.folder)
        return
    figures: dict[str, float] = {}
    print(f"{THREADS} threads, float32, sdpa, no gradient checkpointing, no logging")
    print(f"{'model':>6} {'side':>5} {'s a step':>9} {'tokens/s':>9} {'peak MiB':>9} {'start':>6}")
    speeds, memories, shares = {}, {}, {}
    critic_seconds, critic_memories = {}, {}
    reward_path = measure_reward_path()
    for name, size in SIZES.items():
        found = {side: Measured(**apart(side, name)) for side in SIDES}
        for side, result in found.items():
            print(
                f"{name:>6} {side:>5} {statistics.mean(result.seconds):9.2f}"
                f" {result.tokens_per_s:9.0f} {result.peak_mib:9.0f} {result.start_mib:6.0f}"
            )
            print(f"{'':13} {result.settings}")
        speeds[name] = found["ours"].tokens_per_s / found["trl"].tokens_per_s
        memories[name] = found["ours"].peak_mib / found["trl"].peak_mib
        seconds = {side: statistics.mean(result.seconds) for side, result in found.items()}
        critic_seconds[name] = seconds["critic"] / seconds["ours"]
        critic_memories[name] = found["critic"].peak_mib / found["ours"].peak_mib
        a_step = size.prompts * size.group / reward_path.rollouts_per_s
        shares[name] = a_step / seconds["ours"]
    sampling = apart("sampling", "tiny")
    print("sampling alone, tiny, tokens a second:")
    for way, speed in sampling.items():
        print(f"  {way:24} {speed:9.0f}")
    figures["speed_over_trl"] = min(speeds.values())
    figures["memory_over_trl"] = max(memories.values())
    figures["reward_share"] = max(shares.values())
    figures["lookups_per_s"] = reward_path.lookups_per_s
    best_of_theirs = max(speed for way, speed in sampling.items() if "ours" not in way)
    figures["sampling_over_transformers"] = sampling["ours"] / best_of_theirs
    figures |= {f"speed_over_trl_{name}": speed for name, speed in speeds.items()}
    figures |= {f"critic_seconds_{name}": value for name, value in critic_seconds.items()}
    figures |= {f"critic_memory_{name}": value for name, value in critic_memories.items()}
    figures |= {f"memory_over_trl_{name}": memory for name, memory in memories.items()}
    for name, relation, bound, is_met in (
        ("speed_over_trl", ">=", LEAST_SPEED, figures["speed_over_trl"] >= LEAST_SPEED),
        ("reward_share", "<", MOST_REWARD_SHARE, figures["reward_share"] < MOST_REWARD_SHARE),
        ("lookups_per_s", ">=", LEAST_LOOKUPS, figures["lookups_per_s"] >= LEAST_LOOKUPS),
    ):
        print(f"{name} {figures[name]:.4g} {relation} {bound:g}: {'met' if is_met else 'MISSED'}")
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps({"bench": "train", "figures": rounded}))


if __name__ == "__main__":
    main()
