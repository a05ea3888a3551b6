"""Exporters: live versions are put where they are served from or looked up, as often as it takes."""
