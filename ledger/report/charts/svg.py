"""Elements of SVG as text. All texts and attributes are escaped here, so that a class label cannot become markup."""

import unicodedata

from markupsafe import Markup, escape

Attribute = str | float | None

# Text is laid out without font metrics: these groups of letters suit a wide sans serif.
_NARROW = frozenset("ijl.,:;'|!()[]ftr ")
_BROAD = frozenset("mwMW@%—…→")
_UNSAFE = frozenset({"Cc", "Cs", "Co", "Cn"})
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(text: str) -> str:
    """Return text that is valid in HTML and XML and cannot change the direction of the text around it.

    Control characters, lone surrogates and directional overrides become U+FFFD; line breaks and tabs become spaces.
    """
    if text.isascii() and text.isprintable():
        return text
    spaced = text.replace("\n", " ").replace("\r", " ").replace("\t", " ")
    return "".join("\ufffd" if c in _DIRECTION or unicodedata.category(c) in _UNSAFE else c for c in spaced)


def named(text: str) -> str:
    """Return a label as it is printed, ``(blank)`` for an empty one."""
    return plain(text).strip() or "(blank)"


def element(name: str, *children: str, **attributes: Attribute) -> Markup:
    """Return one element.

    Args:
        name: Its tag.
        children: Text, which is escaped, or markup from this module.
        attributes: ``text_anchor`` is written as ``text-anchor`` and ``class_`` as ``class``; an
            attribute that is None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(child if isinstance(child, Markup) else escape(plain(child)) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>")  # noqa: S704 - its parts were escaped just above


def picture(uid: str, width: float, height: float, title: str, description: str, *children: Markup) -> Markup:
    """Return an ``svg`` element with a title and a description for screen readers.

    Args:
        uid: Unique on the page; the ids of title and description are made from it.
        width: Natural width in pixels; the page may scale it.
        height: Natural height.
        title: What the picture is.
        description: What it shows.
        children: Its elements.
    """
    return element(
        "svg",
        element("title", title, id=f"{uid}-title"),
        element("desc", description, id=f"{uid}-desc"),
        *children,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{uid}-title {uid}-desc",
    )


def group(*children: Markup, hint: str = "", **attributes: Attribute) -> Markup:
    """Return elements that belong together; ``hint`` shows when a pointer rests on them."""
    tip = (element("title", hint),) if hint else ()
    return element("g", *tip, *children, **attributes)


def label(x: float, y: float, text: str, class_: str = "", **attributes: Attribute) -> Markup:
    """Return a line of text with its baseline at ``y``."""
    return element("text", text, x=x, y=y, class_=class_ or None, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def box(x: float, y: float, width: float, height: float, class_: str, **attributes: Attribute) -> Markup:
    """Return a rectangle."""
    return element("rect", x=x, y=y, width=max(0.0, width), height=height, class_=class_, **attributes)


def circle(x: float, y: float, radius: float, class_: str) -> Markup:
    """Return a circle."""
    return element("circle", cx=x, cy=y, r=radius, class_=class_)


def diamond(x: float, y: float, radius: float, class_: str) -> Markup:
    """Return a square that stands on a corner."""
    corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
    return polygon(corners, class_)


def polygon(corners: tuple[tuple[float, float], ...], class_: str) -> Markup:
    """Return a closed shape."""
    return element("polygon", points=" ".join(f"{_value(x)},{_value(y)}" for x, y in corners), class_=class_)


def text_width(text: str, size: float = 12) -> float:
    """Estimate how many pixels a text takes at a font size."""
    return size * sum(_em(character) for character in text)


def shorten(text: str, room: float, size: float = 12) -> str:
    """Cut a text to fit into ``room`` pixels; an ellipsis marks the cut."""
    clean = named(text)
    if text_width(clean, size) <= room:
        return clean
    kept = ""
    for character in clean:
        if text_width(kept + character + "…", size) > room:
            break
        kept += character
    return kept.rstrip() + "…"


def shorten_middle(text: str, room: float, size: float = 12) -> str:
    """Cut a text in its middle, since names that begin alike often differ at their ends."""
    clean = named(text)
    if text_width(clean, size) <= room:
        return clean
    start = shorten(clean, room * 0.55, size).removesuffix("…")
    end = ""
    for character in reversed(clean):
        if text_width(f"{start}…{character}{end}", size) > room:
            break
        end = character + end
    return f"{start}…{end.lstrip()}"


def _em(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in _NARROW:
        return 0.4
    if character in _BROAD:
        return 0.98
    return 0.76 if character.isupper() else 0.63


def _value(value: Attribute) -> str:
    if isinstance(value, str) or value is None:
        return plain(value or "")
    # Two decimals are finer than any screen. "-0" is written as "0" so that equal pictures have equal text.
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
