import pytest

from review.accounts.models import Project
from review.runs.models import Run
from tests import builders
from tests.api.calls import Caller


@pytest.fixture
def caller(project: Project) -> Caller:
    """A program that may do everything in the project."""
    return Caller(builders.make_token(project, "ingest", "table", "label", "lead"))


@pytest.fixture
def run(project: Project) -> Run:
    """A run with one prompt, p1."""
    run = builders.make_run(project)
    builders.make_prompt(run)
    return run
