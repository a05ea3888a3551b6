"""Images of a data source: load, relabel and sample them."""
