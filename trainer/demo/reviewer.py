"""The scripted reviewer as a process: it labels whatever its queues hold, until it is stopped.

    python -m trainer.demo.reviewer QUEUE...

ASSAY_URL names the server; ASSAY_TOKEN is a token of the scope label, whose owner does the
labelling.
"""

import os
import sys
import time

from trainer.client import AssayClient, AssayError, AssayUnavailable
from trainer.demo.oracle import Reviewer, label_queue

_POLL_S = 2.0
_AT_ONCE = 100


def main(queues: list[str]) -> int:
    try:
        with AssayClient(os.environ["ASSAY_URL"], os.environ["ASSAY_TOKEN"]) as client:
            while True:
                _label_all(client, queues)
                time.sleep(_POLL_S)
    except AssayError as error:
        sys.stderr.write(f"reviewer: {error}\n")
        return 1


def _label_all(client: AssayClient, queues: list[str]) -> None:
    for queue in queues:
        try:
            n_labelled = label_queue([Reviewer(client)], queue, limit=_AT_ONCE)
        except AssayUnavailable:
            return  # the server is starting or stopping: the items wait
        if n_labelled:
            sys.stdout.write(f"labelled {n_labelled} rollouts by the rubric\n")
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
