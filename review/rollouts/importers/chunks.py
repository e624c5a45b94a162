"""Rows of a file put into groups, and groups into chunks that are stored at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from review.rollouts.importers import READERS
from review.rollouts.importers.mapping import ColumnMapping, SourceRow, reader_of
from review.rollouts.importers.records import START, Position, Refused

# So many rows, or characters of completions, are stored at a time.
CHUNK_ROWS = 4_096
CHUNK_CHARACTERS = 8 * 1024 * 1024
# A group is stored whole and must fit into memory.
MOST_OF_A_GROUP = 1_024
MOST_CHARACTERS_OF_A_GROUP = 64 * 1024 * 1024


@dataclass(slots=True)
class Chunk:
    """Whole groups of a file, from a position to another one.

    again: rows that judge completions of earlier rows once more. size: what `after` ends at.
    """

    start: Position
    to: Position
    size: int
    groups: list[list[SourceRow]] = field(default_factory=list)
    again: list[SourceRow] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    characters: int = 0

    @property
    def rows(self) -> int:
        return self.to.rows - self.start.rows


def rows_of(
    path: Path, format_: str, columns: ColumnMapping, position: Position = START
) -> Iterator[SourceRow | Refused]:
    read = reader_of(columns)
    for record in READERS[format_].rows(path, position):
        if isinstance(record, Refused):
            yield record
            continue
        try:
            row = read(record)
        except ValueError as error:
            yield Refused(record.line, record.after, str(error))
        else:
            yield row


class Chunks:
    """Puts rows that follow each other into groups, and groups into chunks."""

    def __init__(self, columns: ColumnMapping, first: Chunk) -> None:
        self.columns = columns
        self.chunk = first
        self.line = first.start.rows
        # Of the group that is being read.
        self.characters = 0

    def of(self, rows: Iterable[SourceRow | Refused]) -> Iterator[Chunk]:
        for row in rows:
            if self._is_full() and self._may_end_before(row):
                yield self.chunk
                self.chunk = Chunk(self.chunk.to, self.chunk.to, self.chunk.size)
            self._add(row)
            self.line = row.line
            self.chunk.to = Position(row.line, row.after)
        if self.chunk.to != self.chunk.start:
            yield self.chunk

    def _is_full(self) -> bool:
        chunk = self.chunk
        return chunk.rows >= CHUNK_ROWS or chunk.characters >= CHUNK_CHARACTERS

    def _may_end_before(self, row: SourceRow | Refused) -> bool:
        """Not inside a group, which is stored whole; nor inside a line of several completions."""
        if row.line == self.line:
            return False
        if isinstance(row, Refused):
            # The rows about it may be of one group.
            return not self.chunk.groups or len(self.chunk.refused) >= CHUNK_ROWS
        return self._judges_again(row) or self._begins_a_group(row)

    def _judges_again(self, row: SourceRow) -> bool:
        return row.variant != self.columns.first_variant

    def _begins_a_group(self, row: SourceRow) -> bool:
        if not self.chunk.groups:
            return True
        group = self.chunk.groups[-1]
        first = group[0]
        if (row.group, row.step) != (first.group, first.step) or not _same_prompt(row, first):
            return True
        if self.columns.group:
            return False
        is_whole = len(group) >= (self.columns.group_size or MOST_OF_A_GROUP)
        return is_whole or self.characters > MOST_CHARACTERS_OF_A_GROUP

    def _add(self, row: SourceRow | Refused) -> None:
        chunk = self.chunk
        if isinstance(row, Refused):
            chunk.refused.append(row)
            return
        characters = len(row.problem) + sum(len(message["content"]) for message in row.messages)
        chunk.characters += characters
        if self._judges_again(row):
            chunk.again.append(row)
        elif self._begins_a_group(row):
            self.characters = characters
            chunk.groups.append([row])
        elif self._has_room(characters):
            self.characters += characters
            chunk.groups[-1].append(row)
        else:
            reason = f"its group has more than {MOST_OF_A_GROUP:,} rows, or too long ones"
            chunk.refused.append(Refused(row.line, row.after, reason))

    def _has_room(self, characters: int) -> bool:
        return (
            len(self.chunk.groups[-1]) < MOST_OF_A_GROUP
            and self.characters + characters <= MOST_CHARACTERS_OF_A_GROUP
        )


def _same_prompt(row: SourceRow, other: SourceRow) -> bool:
    return row.problem == other.problem and row.references == other.references
