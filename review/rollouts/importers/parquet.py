"""Parquet, read by batches. Nothing in it is unpickled: only what Arrow knows is decoded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from review.rollouts.errors import UnreadableFileError
from review.rollouts.importers.records import Position, Record, Refused, Row

# Few rows at a time: their texts may be long.
ROWS_AT_ONCE = 256
# A row group is unpacked page by page, so this bounds a page, too.
MOST_GROUP_BYTES = 4 * 1024**3
MOST_THRIFT_BYTES = 64 * 1024 * 1024
MOST_THRIFT_ITEMS = 2_000_000
# A text that is no UTF-8, a date of no year that Python knows, lists without end in one another.
UNUSABLE = (ValueError, OverflowError, NotImplementedError, RecursionError)


def rows(path: Path, position: Position) -> Iterator[Row]:
    number = position.rows
    for batch in _batches(path, number):
        names = batch.schema.names
        # Row by row: a repeated long text is stored once, and must not be unpacked all at once.
        for row in range(batch.num_rows):
            number += 1
            try:
                fields = {
                    name: column[row].as_py()
                    for name, column in zip(names, batch.columns, strict=True)
                }
            except UNUSABLE as error:
                yield Refused(number, number, f"a value in it cannot be read: {_first_line(error)}")
                continue
            yield Record(number, number, str(number), fields)


def size(path: Path) -> int:
    return int(_opened(path).metadata.num_rows)


def columns(path: Path) -> list[str]:
    return list(_opened(path).schema_arrow.names)


def _opened(path: Path) -> Any:
    # Not with the module: it takes longer to load than all of the server's pages.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(
            path,
            thrift_string_size_limit=MOST_THRIFT_BYTES,
            thrift_container_size_limit=MOST_THRIFT_ITEMS,
            # An extension type stays what it is stored as: none is built from a file's word.
            arrow_extensions_enabled=False,
        )
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFileError(f"The file is not valid Parquet: {_first_line(error)}") from None


def _batches(path: Path, skipped: int) -> Iterator[Any]:
    import pyarrow as pa

    file = _opened(path)
    groups, skipped = _groups_after(file, skipped)
    if not groups:
        return
    try:
        for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, use_threads=False):
            yield batch.slice(skipped)
            skipped = max(0, skipped - batch.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFileError(f"The file is damaged: {_first_line(error)}") from None


def _groups_after(file: Any, skipped: int) -> tuple[list[int], int]:
    """The row groups that are left after so many rows, and how many of the first one's to skip."""
    groups: list[int] = []
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        if group.total_byte_size > MOST_GROUP_BYTES:
            raise UnreadableFileError(
                f"A row group is larger than {MOST_GROUP_BYTES >> 30} GiB: write smaller ones."
            )
        if groups or skipped < group.num_rows:
            groups.append(index)
        else:
            skipped -= group.num_rows
    return groups, skipped


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
