"""Candidates, which are edited weights: build them from bases, judge them on calibration images, choose one."""
