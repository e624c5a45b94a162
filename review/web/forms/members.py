"""Projects, their members and invitations, as their admins write them."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _

from review.web.roles import CHOICES

DOMAIN_LENGTH = 60


class ProjectForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=200)
    slug = forms.SlugField(
        label=_("Short name"),
        max_length=50,
        required=False,
        help_text=_(
            "Part of its addresses: letters, digits and hyphens. Made of the name if empty."
        ),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        data["slug"] = data.get("slug") or slugify(data.get("name", ""))[:50].strip("-")
        if not data["slug"] and "slug" not in self.errors:
            self.add_error("slug", _("The name has no letter that an address can hold: write one."))
        return data


class MemberForm(forms.Form):
    """What somebody may do. Known domains can be ticked, others written."""

    roles = forms.MultipleChoiceField(
        label=_("Roles"), choices=CHOICES, widget=forms.CheckboxSelectMultiple
    )
    domains = forms.MultipleChoiceField(
        label=_("Domains that they review"), widget=forms.CheckboxSelectMultiple, required=False
    )
    other_domains = forms.CharField(
        label=_("Other domains"),
        required=False,
        max_length=1000,
        help_text=_("Separated by commas. With no domain at all they review every queue."),
    )

    def __init__(
        self, *args: Any, known: Sequence[str], expertise: Iterable[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        names = sorted({*known, *expertise})
        self.initial["domains"] = list(expertise)
        self.fields["domains"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]
        if not names:
            del self.fields["domains"]
            self.fields["other_domains"].label = _("Domains that they review")

    def clean_other_domains(self) -> list[str]:
        names = [" ".join(name.split()) for name in self.cleaned_data["other_domains"].split(",")]
        if any(len(name) > DOMAIN_LENGTH for name in names):
            raise forms.ValidationError(
                _("A domain's name has at most %(most)s letters."), params={"most": DOMAIN_LENGTH}
            )
        return [name for name in names if name]

    def settings(self) -> dict[str, list[str]]:
        data = self.cleaned_data
        domains = {*data.get("domains", ()), *data["other_domains"]}
        return {"roles": data["roles"], "expertise": sorted(domains)}


class InvitationForm(MemberForm):
    invitee = forms.CharField(
        label=_("Whom it is for"),
        max_length=200,
        help_text=_("A name or an address for you to know it by. Nothing is sent."),
    )

    field_order = ("invitee",)

    def settings(self) -> dict[str, Any]:
        return {"invitee": self.cleaned_data["invitee"], **super().settings()}
