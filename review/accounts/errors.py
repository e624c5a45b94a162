from review.core.errors import ConflictError, InvalidError, MissingError, ReviewError


class UnknownScopeError(InvalidError):
    """A token needs at least one scope, and each must be one that exists."""


class NotAMemberError(InvalidError):
    """The owner of a token must hold the role that its scopes need."""


class UnknownRoleError(InvalidError):
    """A member needs at least one role, and each must be one that exists."""


class NotInProjectError(MissingError):
    """This person is not in the project."""


class LastAdminError(ConflictError):
    """A project keeps at least one admin: make somebody else one first."""

    code = "last_admin"


class SlugTakenError(ConflictError):
    """Another project has this short name."""

    code = "slug_taken"


class UsernameTakenError(ConflictError):
    """Somebody else has this name: choose another."""

    code = "username_taken"


class InvitationClosedError(MissingError):
    """This invitation is not open: it was used, taken back, or has expired."""


class TooManySignInsError(ReviewError):
    """Too many failed sign-ins: wait a while and try again."""

    code = "throttled"
    status = 429


class AccountClosedError(ReviewError):
    """This account is closed."""

    code = "not_allowed"
    status = 403
