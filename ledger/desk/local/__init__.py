"""The desk of a ledger on this machine."""
