#!/usr/bin/env python
"""Django's command line, with the embedded services behind it where no others are configured."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "review.settings")
    from review.core.embedded.environment import development_environment

    with development_environment():
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
