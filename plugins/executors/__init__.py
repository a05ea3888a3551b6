"""Executors: who runs the units of a computation."""
