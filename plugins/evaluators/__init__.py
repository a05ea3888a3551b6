"""Evaluators: what is measured on a version."""
