import pytest

from review.accounts.models import Project
from review.runs.models import Run
from tests import builders


@pytest.fixture
def run(project: Project) -> Run:
    """Two steps of eighty rollouts."""
    return builders.make_stored_run(project)
