"""The documents of ``--json``: domain values as plain data. Each kind has a JSON Schema in ``cli/schemas``."""
