"""Use cases about versions: add one, read a model's history, roll back, compare, export."""
