"""Queries, one repository for each kind of record. Rows never leave: callers get domain values."""
