"""Charts of the report as SVG, and the words beside them."""
