"""The reference of Python, as lists of modules for autodoc."""

from collections.abc import Sequence


def modules_page(names: Sequence[str]) -> str:
    """Return directives that describe modules one after the other."""
    return "\n".join(_section(name) for name in names)


def _section(name: str) -> str:
    return f"""
## `{name}`

```{{eval-rst}}
.. automodule:: {name}
   :members:
```
"""
