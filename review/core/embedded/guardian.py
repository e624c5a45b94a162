"""The process that outlives every client of a shared server and stops it when the last is gone.

Usage: python -m review.core.embedded.guardian postgres|broker DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

from review.core.embedded.broker import EmbeddedBroker
from review.core.embedded.postgres import EmbeddedPostgres

SERVERS = {EmbeddedPostgres.kind: EmbeddedPostgres, EmbeddedBroker.kind: EmbeddedBroker}


def main() -> None:
    kind, directory = sys.argv[1:]
    SERVERS[kind](Path(directory)).guard()


if __name__ == "__main__":
    main()
