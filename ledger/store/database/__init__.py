"""The database itself: engine, schema, tables, and what SQLite needs to be safe."""
