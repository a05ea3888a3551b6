"""Edited weights: built from bases, shown calibration images, and one of them chosen."""
