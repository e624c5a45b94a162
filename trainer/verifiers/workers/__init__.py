"""Killable worker processes, and the pool that gives them work."""
