"""The audit history as pure functions over bytes: no database, no files, no clock, no torch."""
