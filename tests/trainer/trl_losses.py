"""TRL's own losses and gradients on one batch, for comparison.

`python -m tests.trainer.trl_losses FILE`: a process of its own, so that no test waits for the
libraries to load nor sees their warnings. FILE then holds the batch, the model's weights, and for
each case the loss and the gradient of every parameter.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import LlamaForCausalLM
from trl import GRPOConfig, GRPOTrainer

from tests.rollouts.trl_completions import tokenizer
from tests.trainer.parity import BUDGET, CASES, Case, batch_and_model


def main(file: str) -> None:
    torch.set_num_threads(1)
    batch, model = batch_and_model()
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(model, folder)
    # Evaluation: the batch is whole, neither accumulated nor shared with other processes.
    model.eval()
    answers = {name: answer_of(trainer, batch, case) for name, case in CASES.items()}
    torch.save({"batch": batch, "weights": model.state_dict(), "answers": answers}, Path(file))


def trainer_of(model: LlamaForCausalLM, folder: str) -> GRPOTrainer:
    return GRPOTrainer(
        model=model,
        reward_funcs=[lambda completions, **columns: [0.0] * len(completions)],
        args=GRPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=BUDGET,
            report_to=[],
            gradient_checkpointing=False,
            # DeepSeekMath's KL, not weighted by the ratio.
            use_bias_correction_kl=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": "1 plus 1 is"}]),
        processing_class=tokenizer(),
    )


def answer_of(trainer: GRPOTrainer, batch: Mapping[str, Tensor], case: Case) -> dict[str, Any]:
    trainer.loss_type = case.loss_type
    trainer.importance_sampling_level = case.level
    trainer.epsilon_low, trainer.epsilon_high = case.epsilon_low, case.epsilon_high
    trainer.beta = case.beta
    trainer.use_vllm = case.has_importance
    inputs = {name: batch[name] for name in ("prompt_ids", "prompt_mask", "completion_ids")} | {
        "completion_mask": batch["mask"].long(),
        "advantages": batch["token_advantages" if case.by_token else "advantages"],
        "old_per_token_logps": batch["old"],
        "ref_per_token_logps": batch["reference"],
        "importance_sampling_ratio": batch["importance"],
        "num_items_in_batch": batch["mask"].sum(),
    }
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters()}
    return {"loss": loss.detach(), "gradients": gradients}


if __name__ == "__main__":
    main(sys.argv[1])
