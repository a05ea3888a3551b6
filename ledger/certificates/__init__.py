"""Signed certificates of unlearning: written, opened, and verified offline. Pure: no SQL, no torch."""
