"""An installation without the engine: what must work there, and what says why it does not."""
