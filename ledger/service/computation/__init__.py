"""Compute new weights from a model and a set of classes."""
