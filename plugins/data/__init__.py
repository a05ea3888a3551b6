"""Data sources: where images and labels come from."""
