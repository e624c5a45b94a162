"""Verifiable instructions: those of IFEval, and of IFBench all but two.

IFBench's `words:start_verb` needs a tagger of word classes and `words:odd_even_syllables` a
dictionary of syllables; neither comes with a rule that is right often enough to be a reward.
"""

from trainer.verifiers.constraints.reference import INSTRUCTIONS, instructions_of
from trainer.verifiers.constraints.verifier import MODES, Constraints

__all__ = ["INSTRUCTIONS", "MODES", "Constraints", "instructions_of"]
