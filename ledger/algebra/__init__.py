"""Pure linear algebra of the method: torch and the standard library only."""
