"""Verifiers that are made of verifiers."""
