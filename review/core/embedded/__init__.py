"""PostgreSQL and Valkey as private servers on unix sockets, and the supervisor of the one command.

Nothing here imports Django: settings.py takes the addresses from `paths`, entry points
acquire the servers.
"""
