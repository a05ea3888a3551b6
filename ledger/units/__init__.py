"""Units: parts of a computation that any machine may run, and how they are handed out and gathered."""
