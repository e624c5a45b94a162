"""`python -m tests.contract.kill_scene`: a fresh database with queues, as the kill tests need it.

A process of its own, since its database is not the tests'. Prints who may label what, as JSON.
"""

import json
import sys

import django

ITEMS = 60
QUEUES, REVIEWERS = 2, 4


def main() -> None:
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    json.dump(made_up(), sys.stdout)


def made_up() -> dict[str, list[str]]:
    from review.accounts.models import Role
    from tests import builders
    from tests.labeling import bulk

    project = builders.make_project()
    queues = [bulk.open_queue(project) for _ in range(QUEUES)]
    bulk.make_rollouts(project, ITEMS)
    for queue in queues:
        bulk.fill_queue(queue, ITEMS)
    reviewers = [builders.make_user(project, Role.REVIEWER) for _ in range(REVIEWERS)]
    tokens = [builders.make_token(project, "label", owner=reviewer) for reviewer in reviewers]
    return {"queues": [str(queue.pk) for queue in queues], "tokens": tokens}


if __name__ == "__main__":
    main()
