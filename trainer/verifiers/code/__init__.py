"""The verifier of programs: each test in a sandbox, each verdict made outside it.

What can be read in a sandbox is a solution and the input of one test. What it wrote and how it
ended is recorded by the parent, and compared there with the expected output, which never enters.
"""

from trainer.verifiers.code.verifier import Code

__all__ = ["Code"]
