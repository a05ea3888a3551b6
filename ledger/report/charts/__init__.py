"""The charts of the report as SVG, and the wording of numbers and dates."""
