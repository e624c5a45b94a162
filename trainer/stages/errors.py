"""Why a stage cannot go on."""


class TrainingError(Exception):
    """The run stops; the message says at which step, why, and what to do about it."""
