"""The audit log as pure functions over bytes, without database, files, clock or torch."""
