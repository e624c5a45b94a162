from review.core.errors import InvalidError


class UnknownScopeError(InvalidError):
    """A token needs at least one scope, and each must be one that exists."""


class NotAMemberError(InvalidError):
    """The owner of a token must hold the role that its scopes need."""
