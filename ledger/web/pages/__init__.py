"""Pages for people: rendered here, usable without JavaScript, kept fresh by htmx where that is there."""

from .mounting import mount_pages

__all__ = ["mount_pages"]
