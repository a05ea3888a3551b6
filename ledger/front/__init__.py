"""The front door for Python: a ledger, its models, and what can be asked of them, as values that a notebook shows.

A face like the command line: it asks the desk and the services, and no rule lives here. ``import ledger`` offers it.
"""
