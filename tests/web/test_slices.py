"""The slices of a project."""

from django.urls import reverse

from review.accounts.models import Project, User
from review.rollouts.models import Slice
from tests.web.rules import signed_in

MANAGEMENT = {"form-INITIAL_FORMS": "0", "form-MIN_NUM_FORMS": "1", "form-MAX_NUM_FORMS": "20"}


def posted(name: str, *rows: tuple[str, str, str]) -> dict[str, str]:
    data = MANAGEMENT | {"name": name, "form-TOTAL_FORMS": str(len(rows))}
    for number, row in enumerate(rows):
        data |= {
            f"form-{number}-{part}": value
            for part, value in zip(("field", "op", "value"), row, strict=True)
        }
    return data


def test_a_slice_is_made_listed_in_words_and_deleted(project: Project, ada: User) -> None:
    client, url = signed_in(ada), reverse("web:slices", args=[project.slug])
    assert "No slice yet" in client.get(url).content.decode()
    rows = (
        ("domain", "in", "algebra, geometry"),
        ("length_bin", "at_least", "3"),
        ("probe", "is", "true"),
        ("domain", "is", ""),
    )
    assert client.post(url, posted("long ones", *rows)).status_code == 302
    stored = Slice.objects.get()
    assert [condition["value"] for condition in stored.conditions] == [
        ["algebra", "geometry"],
        3,
        True,
    ]
    page = client.get(url).content.decode()
    assert "domain is algebra or geometry and length at least 1,024 tokens" in page
    client.post(reverse("web:slice-delete", args=[stored.pk]))
    assert not Slice.objects.exists()


def test_what_is_wrong_is_said_at_its_row(project: Project, ada: User) -> None:
    client, url = signed_in(ada), reverse("web:slices", args=[project.slug])
    rows = (("domain", "is", "algebra"), ("domain", "is", ""), ("length_bin", "is", "many"))
    answer = client.post(url, posted("x", *rows))
    assert answer.status_code == 422
    page = answer.content.decode()
    assert page.index("a whole number from 0 to 5") > page.index('name="form-2-value"')
    assert client.post(url, posted("", ("domain", "is", "a"))).status_code == 422
    assert client.post(url, posted("none", ("domain", "is", ""))).status_code == 422


def test_a_name_that_is_taken_is_said_at_the_name(project: Project, ada: User) -> None:
    client, url = signed_in(ada), reverse("web:slices", args=[project.slug])
    client.post(url, posted("sums", ("domain", "is", "a")))
    again = client.post(url, posted("sums", ("domain", "is", "b")))
    assert again.status_code == 422
    assert "is taken" in again.content.decode()


def test_another_row_comes_with_and_without_a_script(project: Project, ada: User) -> None:
    client, url = signed_in(ada), reverse("web:slices", args=[project.slug])
    data = posted("kept", ("domain", "is", "algebra")) | {"add": "1"}
    part = client.post(url, data, headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<fieldset id="conditions">')
    page = client.post(url, data).content.decode()
    assert 'value="kept"' in page
    for shown in (part, page):
        assert 'name="form-1-value"' in shown
        assert 'value="algebra"' in shown
        assert "field-error" not in shown
