"""Back a ledger up while it is in use, and restore it into a new folder."""
