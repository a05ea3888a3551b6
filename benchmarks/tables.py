"""Markdown tables, as they stand in ``docs/benchmarks.md``."""

from collections.abc import Iterable, Sequence


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are text already."""
    header, *body = (f"| {' | '.join(cells)} |" for cells in (columns, *rows))
    return "\n".join([header, f"|{'---|' * len(columns)}", *body])


def bracketed(alphas: tuple[float, float]) -> str:
    """Return ``(alpha_r, alpha_f)`` as text."""
    return f"({alphas[0]:g}, {alphas[1]:g})"
