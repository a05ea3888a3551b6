"""The use cases, each spelled out once: every face of the ledger calls these and nothing below them."""
