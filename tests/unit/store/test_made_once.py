"""Attributes that are made when they are first asked for."""

from ledger.store.made_once import made_once


class Counted:
    """Counts how often its attribute is made."""

    made = 0

    @made_once
    def attribute(self) -> list[int]:
        """A list of its own."""
        self.made += 1
        return [self.made]


def test_it_is_made_once_for_each_object() -> None:
    one, other = Counted(), Counted()
    assert "attribute" not in vars(one)
    assert one.attribute is one.attribute
    assert one.attribute is not other.attribute
    assert one.made == other.made == 1
    assert vars(one)["attribute"] is one.attribute


def test_the_class_has_its_description() -> None:
    assert isinstance(Counted.attribute, made_once)
    assert Counted.attribute.__doc__ == "A list of its own."
