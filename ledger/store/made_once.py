"""An attribute that is made when it is first asked for, and kept by its object: without a lock.

``functools.cached_property`` holds one lock for all objects of a class up to Python 3.11. What transactions make may
wait for the database there: then a transaction that holds the database up waits for one that waits for the database,
until one of them gives up.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class made_once(Generic[T]):  # noqa: N801 - used as a decorator, as the property that it is like
    """Makes a value for each object, for the one thread that uses the object.

    Args:
        make: Given the object, makes its value.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "made_once[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object, owner: type) -> "made_once[T] | T":
        """Return the value; from now on, the object's own attribute is found before this."""
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._make(instance)
        return value
