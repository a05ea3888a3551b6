"""The events of the audit history: one class for each kind, with the facts that its entry holds."""
