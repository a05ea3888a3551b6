"""Keeping a ledger well: check it, repair what can be derived, collect garbage, purge."""
