"""Hooks of other trainers, each a few lines over the same lookup (`scoring`)."""
