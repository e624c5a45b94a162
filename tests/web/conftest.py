import pytest

from review.accounts.models import Project
from review.runs.models import Run
from tests import builders


@pytest.fixture
def run(project: Project) -> Run:
    """Two steps of eighty rollouts."""
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=20)
    run.refresh_from_db()
    return run
