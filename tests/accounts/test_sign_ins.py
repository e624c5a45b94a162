"""Guessing passwords is slow, whatever the guesser varies."""

import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from review.accounts.errors import TooManySignInsError
from review.accounts.models import FailedSignIns, User
from review.accounts.services.sign_ins import (
    ONE_ADDRESS,
    ONE_NAME,
    ONE_NAME_AND_ADDRESS,
    begin_sign_in,
    forget_failures,
)
from review.core.addresses import client_address
from tests import ROOT, builders
from tests.conftest import service_environment
from tests.web.rules import signed_in

RIGHT, WRONG = "pass-word-9", "wrong"


def sign_in(name: str = "ben", password: str = RIGHT, address: str = "10.0.0.1") -> int:
    data = {"username": name, "password": password}
    return Client(REMOTE_ADDR=address).post(reverse("web:login"), data).status_code


def use_up(failures: int, *, names: int = 1, addresses: int = 1) -> None:
    for number in range(failures):
        begin_sign_in(
            name="ben" if names == 1 else f"name-{number % names}",
            address=f"10.0.0.{1 + number % addresses}",
        )


def test_one_name_from_one_address_has_to_wait(ben: User) -> None:
    for _ in range(ONE_NAME_AND_ADDRESS.failures):
        assert sign_in(password=WRONG) == 200
    assert sign_in() == 429
    # Nobody else is kept out.
    assert sign_in(address="10.0.0.2") == 302


def test_an_address_has_to_wait_whatever_names_it_tries(ben: User) -> None:
    use_up(ONE_ADDRESS.failures, names=ONE_ADDRESS.failures)
    assert sign_in() == 429
    assert sign_in(address="10.0.0.2") == 302


def test_a_name_has_to_wait_from_however_many_addresses(ben: User) -> None:
    use_up(ONE_NAME.failures, addresses=ONE_NAME.failures)
    assert sign_in(address="10.1.0.1") == 429
    assert sign_in("BEN", address="10.1.0.1") == 429


def test_one_address_cannot_use_up_a_name(ben: User) -> None:
    for _ in range(ONE_NAME.failures + 20):
        sign_in(password=WRONG)
    assert sign_in(address="10.0.0.2") == 302


def test_signing_in_uses_nothing_up(ben: User) -> None:
    for _ in range(ONE_ADDRESS.failures + 1):
        assert sign_in() == 302
    assert sum(FailedSignIns.objects.values_list("failures", flat=True)) == 0


def test_the_wait_ends(ben: User) -> None:
    use_up(ONE_NAME_AND_ADDRESS.failures)
    assert sign_in() == 429
    FailedSignIns.objects.update(ends_at=timezone.now() - timedelta(hours=1))
    assert sign_in() == 302


def test_what_is_over_is_forgotten(db: None) -> None:
    use_up(3, names=3)
    FailedSignIns.objects.filter(failures=3).update(ends_at=timezone.now() - timedelta(hours=1))
    forget_failures()
    assert set(FailedSignIns.objects.values_list("failures", flat=True)) == {1}


def test_no_name_and_no_address_is_kept(ben: User) -> None:
    sign_in(password=WRONG)
    kept = str(list(FailedSignIns.objects.values()))
    assert "ben" not in kept
    assert "10.0.0.1" not in kept


def test_a_throttled_sign_in_looks_at_no_password(
    ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_up(ONE_NAME_AND_ADDRESS.failures)
    monkeypatch.setattr(User, "check_password", None)
    assert sign_in() == 429


@pytest.mark.django_db(transaction=True)
def test_many_at_once_get_no_more_tries_than_one_after_the_other(ben: User) -> None:
    let_through: list[bool] = []
    barrier = threading.Barrier(16)

    def attempt() -> None:
        barrier.wait()
        try:
            begin_sign_in(name="ben", address="10.0.0.1")
        except TooManySignInsError:
            pass
        else:
            let_through.append(True)
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_through) == ONE_NAME_AND_ADDRESS.failures


OTHER_PROCESS = """
import django
django.setup()
from review.accounts.services.sign_ins import begin_sign_in
for _ in range(10):
    begin_sign_in(name="ben", address="10.0.0.1")
"""


@pytest.mark.django_db(transaction=True)
def test_failures_of_another_process_count(ben: User) -> None:
    environment = service_environment() | {"DJANGO_SETTINGS_MODULE": "review.settings"}
    subprocess.run([sys.executable, "-c", OTHER_PROCESS], cwd=ROOT, env=environment, check=True)
    assert sign_in() == 429


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, "10.0.0.1"),
        (0, "6.6.6.6", "10.0.0.1"),
        (1, "192.0.2.7", "192.0.2.7"),
        (1, "6.6.6.6, 192.0.2.7", "192.0.2.7"),
        (2, "6.6.6.6, 192.0.2.7, 10.0.0.9", "192.0.2.7"),
        # It came past a proxy, or the setting is wrong.
        (1, None, "10.0.0.1"),
        (2, "6.6.6.6", "10.0.0.1"),
        (1, "6.6.6.6, ", "10.0.0.1"),
    ],
)
def test_an_address_is_what_trusted_proxies_say(
    proxies: int, forwarded: str | None, address: str, settings: Settings
) -> None:
    settings.TRUSTED_PROXIES = proxies
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", headers=headers)
    assert client_address(request) == address


def test_the_administration_signs_in_by_the_same_page(db: None) -> None:
    answer = Client().get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0] == "/login/?next=/admin/"
    assert Client().post("/admin/login/").status_code == 405
    stranger = signed_in(builders.make_user())
    assert stranger.get("/admin/", follow=True).status_code == 404


def test_a_person_changes_their_password(ben: User) -> None:
    client = signed_in(ben)
    assert reverse("web:password") in client.get("/").content.decode()
    new = {"new_password1": "another-pass-3", "new_password2": "another-pass-3"}
    wrong = client.post(reverse("web:password"), {"old_password": WRONG} | new)
    assert "was entered incorrectly" in wrong.content.decode()
    answer = client.post(reverse("web:password"), {"old_password": RIGHT} | new, follow=True)
    assert "Your password is changed" in answer.content.decode()
    assert sign_in(password="another-pass-3") == 302
