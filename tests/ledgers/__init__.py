"""Ledgers that tests work with: how they are made, filled, asked and compared."""
