"""Trains a tiny random model for some steps with TRL, which logs the completions.

`python -m tests.rollouts.trl_completions FOLDER`: a process of its own, so that no test waits for
torch nor sees the libraries' warnings.
"""

import sys
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

WORDS = ["<pad>", "<eos>", "<unk>", *"0123456789", "plus", "is"]


def half_known(completions: list[str], **kwargs: Any) -> list[float | None]:
    """Of every other completion it cannot tell."""
    return [None if row % 2 else float("1" in text) for row, text in enumerate(completions)]


def length(
    completions: list[str], log_extra: Any, solution: list[str], **kwargs: Any
) -> list[float]:
    log_extra("solution", solution)
    return [len(text.split()) / 10 for text in completions]


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def tiny_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=1,
        )
    )


def main(folder: str) -> None:
    torch.set_num_threads(1)
    model = tiny_model()
    rows = [{"prompt": f"{a} plus {a} is", "solution": str(2 * a)} for a in range(4)]
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[half_known, length],
        args=GRPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            max_steps=2,
            logging_steps=1,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=8,
            log_completions=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
    )
    trainer.train()


if __name__ == "__main__":
    main(sys.argv[1])
