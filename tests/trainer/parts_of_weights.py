"""Prints how many weights this process keeps of a policy, sees while they are whole, and their
number."""

import sys

from torch.distributed.tensor import DTensor
from torch.nn import Module

from tests.trainer.tiny import make_config
from trainer.model import build_model, tokenizer_of
from trainer.policy import Policy
from trainer.ranks import Ranks, WholeWeights


def kept(module: Module) -> int:
    parameters = module.parameters()
    return sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in parameters)


def main() -> None:
    ranks = Ranks()
    config = make_config().model
    policy = Policy(build_model(config, tokenizer_of(config, None), seed=0))
    whole = kept(policy)
    ranks.wrapped(policy)
    part = kept(policy)
    with WholeWeights(policy):
        seen = kept(policy)
    lines = ranks.gathered(f"{part} {seen} {whole}\n")
    for line in lines if ranks.is_first else ():
        sys.stdout.write(line)
    ranks.close()
