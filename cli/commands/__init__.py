"""The commands, one module for each group of them. They translate; every rule lives in the service."""
