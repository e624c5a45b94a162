"""What the product refuses. A domain's errors derive from these; each interface maps them once."""

from collections.abc import Mapping


class ReviewError(Exception):
    """Something was refused."""

    code = "refused"
    status = 400

    def __init__(self, message: str = "", *, fields: Mapping[str, str] | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.fields = dict(fields or {})
        super().__init__(self.message)


def in_words(error: ReviewError) -> str:
    """What was refused and why, for whoever reads it later."""
    about = "; ".join(f"{name} {rule}" for name, rule in error.fields.items())
    return f"{error.message} ({about})" if about else error.message


class InvalidError(ReviewError):
    """The input breaks a rule."""

    code = "invalid"


class MissingError(ReviewError):
    """There is no such thing, or it is not yours to see."""

    code = "not_found"
    status = 404


class ConflictError(ReviewError):
    """The state of the thing does not allow this."""

    code = "conflict"
    status = 409
