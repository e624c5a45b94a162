"""A worker at a replay, as a process of its own: it hangs while it stores its third chunk."""

import sys
import time
from typing import Any

import django

django.setup()

from django.db import transaction  # noqa: E402

from review.flows import replays  # noqa: E402
from review.verifiers.models import Replay  # noqa: E402
from tests.verifiers import toys  # noqa: E402
from trainer.verifiers import BUILT_IN  # noqa: E402

CHUNK = 4
store_chunk = replays.replays.store_chunk


def hang_in_the_third(**kwargs: Any) -> Replay | None:
    with transaction.atomic():
        held = store_chunk(**kwargs)
        if held is not None and held.judged == 3 * CHUNK:
            time.sleep(600)
    return held


if __name__ == "__main__":
    BUILT_IN["contains"] = toys.contains()
    replays.FIRST_CHUNK = replays.LARGEST_CHUNK = CHUNK
    replays.replays.store_chunk = hang_in_the_third
    replays.go_on(replay=Replay.objects.get(pk=sys.argv[1]))
