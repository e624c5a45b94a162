"""A worker at a replay, as a process of its own, for a test that kills it."""

import sys

import django

django.setup()

from review.flows import replays  # noqa: E402
from review.verifiers.models import Replay  # noqa: E402
from tests.verifiers import toys  # noqa: E402
from trainer.verifiers import BUILT_IN  # noqa: E402

if __name__ == "__main__":
    BUILT_IN["contains"] = toys.contains()
    replays.FIRST_CHUNK = replays.LARGEST_CHUNK = 4
    replays.go_on(replay=Replay.objects.get(pk=sys.argv[1]))
