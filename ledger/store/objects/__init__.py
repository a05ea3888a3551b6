"""Stored objects: content-addressed, encrypted, each with a key of its own; in a folder or behind a URL."""
