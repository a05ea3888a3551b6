"""A network as it was handed in: its layers and parameters, what flows through them, and how to run it."""
