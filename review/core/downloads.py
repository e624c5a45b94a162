"""Files that are sent as they are made."""

from collections.abc import Iterator

from django.http import StreamingHttpResponse


def download(
    pieces: Iterator[bytes], *, file_name: str, content_type: str
) -> StreamingHttpResponse:
    """A file to be saved, which no browser opens or takes for something else."""
    return StreamingHttpResponse(
        pieces,
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{file_name}"',
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-store",
        },
    )
