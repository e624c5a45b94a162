"""A person's own keys: a closed table of actions, a short pattern for each key."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from review.web.keys import ACTIONS, DEFAULT_KEYS, doubled_keys, is_key


class KeysForm(forms.Form):
    def __init__(
        self, data: Mapping[str, Any] | None = None, *, keys: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(data, initial=dict(keys or {}), auto_id="key-%s")
        for action in ACTIONS:
            self.fields[action.name] = forms.CharField(
                label=str(action.says),
                max_length=5,
                widget=forms.TextInput(
                    attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
                ),
            )

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        for name in list(said):
            said[name] = said[name] if said[name] == "Enter" else said[name].lower()
            if not is_key(name, said[name]):
                self.add_error(name, _("One letter, or one of ? , . ; - + = # * /"))
        doubled = doubled_keys(said)
        for action in ACTIONS:
            if said.get(action.name) in doubled:
                self.add_error(
                    action.name,
                    _("“%(key)s” is the key of something else too: %(other)s")
                    % {"key": said[action.name], "other": self._other(action.name, said)},
                )
        return said

    def _other(self, name: str, said: Mapping[str, str]) -> str:
        return ", ".join(
            str(action.says)
            for action in ACTIONS
            if action.name != name and said.get(action.name) == said[name]
        )

    def shortcuts(self) -> dict[str, str]:
        """What differs from the defaults."""
        return {name: key for name, key in self.cleaned_data.items() if key != DEFAULT_KEYS[name]}
