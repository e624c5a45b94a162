"""A new slice, and what it sets off."""

from functools import partial

from django.db import transaction

from review.accounts.models import Project
from review.calibration.queries import estimated_runs
from review.flows import tasks
from review.rollouts import services
from review.rollouts.models import Slice
from review.rollouts.slices import Conditions


@transaction.atomic
def create_slice(*, project: Project, name: str, conditions: Conditions, actor: object) -> Slice:
    """Store the slice; the scorecards of the project's audited runs get their rows of it."""
    slice_ = services.create_slice(project=project, name=name, conditions=conditions, actor=actor)
    for run_id in estimated_runs(project):
        transaction.on_commit(partial(tasks.refresh_soon, str(run_id)), robust=True)
    return slice_
