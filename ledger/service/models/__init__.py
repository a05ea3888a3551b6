"""Use cases about models: register one, rebind its data, say what of it can be edited."""
