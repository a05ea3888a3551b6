"""The data of a report: read from the ledger, and from the JSON that evaluators and solvers left in it."""
