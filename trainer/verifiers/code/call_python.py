"""Runs in the sandbox: calls a function of a solution and writes what it returns as JSON.

Standard input: {"fn_name": ..., "arguments": [...]}. Standard output: the value, nothing else; what
the solution prints goes to standard error. Nothing here is secret, and whatever a solution does to
it, it can bring out no more than a value, which the parent compares.
"""

import json
import os
import sys
import types


def main() -> None:
    call = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    value = _function(sys.argv[1], call["fn_name"])(*call["arguments"])
    json.dump(value, answer)
    answer.flush()
    # The value is given: no exit handler and no thread has a say any more.
    os._exit(0)


def _function(path: str, name: str):  # type: ignore[no-untyped-def]
    """The solution's function, or the method of its class Solution, as LeetCode has it."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    with open(path, "rb") as source:
        exec(compile(source.read(), path, "exec"), module.__dict__)  # noqa: S102 - in the sandbox
    if hasattr(module, name):
        return getattr(module, name)
    return getattr(module.Solution(), name)


if __name__ == "__main__":
    main()
