from review.core.errors import ConflictError, InvalidError, MissingError


class NoLabelsError(ConflictError):
    """There is no label of a closed wave yet: nothing to build a reward table from."""

    code = "no_labels"


class NoRewardTableError(MissingError):
    """No reward table of this run is published (or none of this version)."""

    code = "no_reward_table"


class InvalidTableError(InvalidError):
    """The reward table cannot be built as asked."""

    code = "invalid_table"


class TooFewLabelsError(ConflictError):
    """Rewards may steer what is labelled once chance has drawn enough labels."""

    code = "too_few_labels"


class OutdatedTableError(ConflictError):
    """A later version of this reward table is published: build a new one."""

    code = "outdated_table"


class UnusableTableError(ConflictError):
    """The published reward table is of another version of this software: publish a new one."""

    code = "unusable_table"
