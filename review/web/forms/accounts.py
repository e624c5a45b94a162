"""Passwords as people choose them."""

from typing import Any

from django.contrib.auth.forms import PasswordChangeForm, UserCreationForm
from django.contrib.auth.password_validation import password_validators_help_texts

from review.accounts.models import User


def rules_of_passwords() -> str:
    """In a line; Django's own text is a list, which is no text."""
    return " ".join(password_validators_help_texts())


class AccountForm(UserCreationForm):  # type: ignore[type-arg]  # not generic at run time
    class Meta:
        model = User
        fields = ("username",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = rules_of_passwords()


class NewPasswordForm(PasswordChangeForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].help_text = rules_of_passwords()
