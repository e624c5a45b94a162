import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.tiny import TOKENIZER, make_config
from trainer.demo.task import VOCABULARY
from trainer.model import build_model
from trainer.tokenizers import UnknownTextError


def test_vocabulary_has_33_tokens_and_a_box_is_one_of_them() -> None:
    assert len(TOKENIZER) == 33
    assert [TOKENIZER.tokens[i] for i in TOKENIZER.encode("so \\boxed{15}")] == [
        *("so ", "\\boxed{", "1", "5", "}")
    ]


@given(st.lists(st.sampled_from(VOCABULARY)).map("".join))
def test_any_text_of_the_vocabulary_survives_a_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_text_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(UnknownTextError, match="no token for 'x'"):
        TOKENIZER.encode("1+x=?")


def test_decoding_stops_at_the_end_and_skips_padding() -> None:
    ids = [TOKENIZER.pad_id, *TOKENIZER.encode_prompt("1+1=?"), TOKENIZER.eos_id, 5, 6]
    assert TOKENIZER.decode(ids) == "1+1=?\n"


def test_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (
        build_model(make_config().model, TOKENIZER, seed=seed).lm_head.weight for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_demo_model_has_a_third_of_a_million_parameters() -> None:
    from trainer.config import ModelConfig

    model = build_model(ModelConfig(), TOKENIZER, seed=0)
    assert 300_000 < model.num_parameters() < 400_000
