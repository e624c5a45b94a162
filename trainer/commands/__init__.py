"""One module a command: `add_arguments(parser)`, and `run(options)` for the exit status."""
