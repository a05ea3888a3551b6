"""Use cases about requests: preview, file, decide, carry out, withdraw, and say what is open."""
