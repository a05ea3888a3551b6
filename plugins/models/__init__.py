"""Model loaders: from an architecture's name to a network."""
