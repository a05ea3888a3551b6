"""The desk of a ledger on another machine, behind a server."""
