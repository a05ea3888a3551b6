"""Use cases about the audit log: sign it, prove entries, verify it, copy it."""
