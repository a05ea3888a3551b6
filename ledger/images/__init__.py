"""Images of a data source: preprocessed, relabelled, and chosen by seed."""
