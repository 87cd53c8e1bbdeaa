"""Roots as the other faces have them."""

from tests.faces.conftest import clock, committed, environment, lived_in, root, used

__all__ = ["clock", "committed", "environment", "lived_in", "root", "used"]
