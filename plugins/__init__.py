"""Built-in plugins: ordinary users of the hooks in ``ledger.hookspecs``."""
