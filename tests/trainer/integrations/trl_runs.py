"""Trains a tiny random model with TRL's GRPOTrainer and our reward, in a process of its own: no
test waits for torch nor sees the libraries' warnings.

`python -m tests.trainer.integrations.trl_runs FOLDER`: the settings of each training are a line of
JSON on stdin; a line on stdout says that it is over. "pause_at": after these steps it says
"paused" and waits for a line; "stop_at": after this step it breaks off.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from tests.rollouts.trl_completions import tiny_model, tokenizer
from trainer.client import AssayClient
from trainer.integrations import trl, trl_rollouts
from trainer.integrations.trl import AssayReward, Columns
from trainer.verifiers import build

CHAT = "{% for message in messages %}{{ message.content }} {% endfor %}"
GROUP, PROMPTS = 4, 3


class Pause(TrainerCallback):
    def __init__(self, at: list[int], stop_at: int) -> None:
        self._at, self._stop_at = at, stop_at

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in self._at:
            say("paused")
            sys.stdin.readline()
        control.should_training_stop |= state.global_step == self._stop_at


def say(word: str) -> None:
    sys.__stdout__.write(f"{word}\n")
    sys.__stdout__.flush()


def rows(is_chat: bool) -> list[dict[str, Any]]:
    """The last problem has no reference: nobody can judge it."""
    found = []
    for a in range(PROMPTS):
        prompt = f"{a} plus {a} is"
        answers = [] if a == PROMPTS - 1 else [str(2 * a)]
        found.append(
            {
                "prompt": [{"role": "user", "content": prompt}] if is_chat else prompt,
                "answer": answers,
                "kind": "arithmetic",
            }
        )
    return found


def train(folder: Path, said: dict[str, Any]) -> None:
    torch.manual_seed(0)
    words = tokenizer()
    if said["is_chat"]:
        words.chat_template = CHAT
    reward = AssayReward(
        "contains-reference",
        run=said["run"],
        columns=Columns(references=said["references"], domain="kind"),
        directory=folder / said["run"],
        client=AssayClient(said["url"], said["token"]),
        detector=build("probe"),
    )
    trainer = GRPOTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(folder / said["log"]),
            use_cpu=True,
            bf16=False,
            max_steps=said["steps"],
            logging_steps=1,
            per_device_train_batch_size=GROUP * PROMPTS,
            num_generations=GROUP,
            max_completion_length=8,
            log_completions=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            gradient_checkpointing=False,
            eval_strategy="steps" if said["is_chat"] else "no",
            eval_steps=1,
            per_device_eval_batch_size=GROUP,
            num_generations_eval=2,
        ),
        train_dataset=Dataset.from_list(rows(said["is_chat"])),
        eval_dataset=Dataset.from_list(rows(said["is_chat"])[:2]),
        processing_class=words,
        callbacks=[reward.callback(), Pause(said["pause_at"], said["stop_at"])],
    )
    trainer.train()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    trl._REGISTER_S = trl_rollouts._FLUSH_S = 1.0
    sys.stdout = sys.stderr  # the libraries talk
    say("ready")
    for line in sys.stdin:
        try:
            train(folder, json.loads(line))
        except Exception as error:
            say(f"{type(error).__name__}: {error}")
        else:
            say("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
