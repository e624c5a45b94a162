"""Registering a run from several processes of one training job at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from review.accounts.models import Project
from review.core.models import AuditEvent
from review.runs.models import Run
from review.verifiers.models import RunVerifier, VerifierVersion
from tests import builders


@pytest.mark.django_db(transaction=True)
def test_a_run_that_every_process_registers_is_one_run(project: Project) -> None:
    def register(_: int) -> Run:
        try:
            return builders.make_run(project, uid="shared")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        runs = set(threads.map(register, range(6)))

    assert len(runs) == Run.objects.count() == 1
    assert RunVerifier.objects.count() == VerifierVersion.objects.count() == 1
    assert AuditEvent.objects.filter(action="run registered").count() == 1
