"""Faults of all kinds, put into a ledger on purpose: tests, and the scripts that the tests run samples of."""
