#!/usr/bin/env python
"""Django's command line, with the embedded services behind it where no others are configured."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "review.settings")
    from review.core.embedded import paths
    from review.core.embedded.environment import development_environment
    from review.core.embedded.errors import EmbeddedServiceError

    if sys.argv[1:2] == ["loop"]:
        # Its runs don't belong among the demo's: it has a home of its own.
        os.environ["ASSAY_HOME"] = str(paths.home() / "loop")
    try:
        with development_environment():
            from django.core.management import execute_from_command_line

            execute_from_command_line(sys.argv)
    except EmbeddedServiceError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
