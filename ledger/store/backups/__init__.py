"""Backups as files: the place where they lie, the signed manifest, and the database in a form of its own."""
