"""Measurements of a whole cluster and of its parts; figures, not tests."""
