"""What can go wrong with an embedded server; every message says what to do about it."""

from __future__ import annotations


class EmbeddedServiceError(Exception):
    """An embedded server cannot be used."""


class BinariesMissingError(EmbeddedServiceError):
    """The server's program is not installed."""


class DiskFullError(EmbeddedServiceError):
    """The disk has too little room for a server's data."""


class FolderNotOursError(EmbeddedServiceError):
    """A server's folder belongs to another account."""


class StartFailedError(EmbeddedServiceError):
    """The server did not start; the message ends with the last lines of its log."""


class AlreadyRunningError(EmbeddedServiceError):
    """Another process already serves this home folder."""


class PortTakenError(EmbeddedServiceError):
    """Something else listens on the port."""


class ProcessFailedError(EmbeddedServiceError):
    """A supervised process ended, or did not become ready in time."""
