"""Accounts, projects and memberships, for administrators. Tokens are made on their own page."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from review.accounts.models import Identity, Membership, Project, User


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    model = Membership
    extra = 1
    autocomplete_fields = ("user",)


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "slug", "created_at")
    prepopulated_fields = {"slug": ("name",)}
    inlines = (MembershipInline,)


class IdentityInline(admin.TabularInline):  # type: ignore[type-arg]
    """Here an account that had a password is given to somebody's single sign-on."""

    model = Identity
    extra = 0


@admin.register(User)
class PersonAdmin(UserAdmin):  # type: ignore[type-arg]
    inlines = (IdentityInline,)
