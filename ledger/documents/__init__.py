"""The documents of ``--json``: domain values as plain data. ``schemas`` holds a JSON Schema of each kind."""
