"""Calibration images, and what weights answer to them: which images, in which batches, what is recorded and kept."""
