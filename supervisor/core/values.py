"""
Frozen dataclasses whose methods are shared instead of generated.

`dataclass` writes and compiles six functions for each class.  For the hundred classes of this
program that is a sixth of the start's processor time and more than a megabyte.  `value_class` makes
the same kind of class, for `replace`, `fields`, `match` and the type checker too, with one set of
methods for all.  An instance takes three times as long to create and ten times to compare, about a
microsecond each: what exists once per endpoint is a NamedTuple.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypeVar

__all__ = ["value_class"]

Class = TypeVar("Class", bound=type)

if TYPE_CHECKING:
    from dataclasses import dataclass as value_class
else:

    def value_class(
        *, frozen: Literal[True], slots: Literal[True], kw_only: bool = False
    ) -> Callable[[Class], Class]:
        """
        Return a decorator like `dataclass(frozen=True, slots=True)`; nothing else is supported.

        Of the options of `field` only the defaults, the metadata and `compare` have an effect.
        """
        assert frozen
        assert slots

        def decorate(made: Class) -> Class:
            made.__doc__ = made.__doc__ or made.__name__  # without one dataclass writes a signature
            for name in _METHODS:
                setattr(made, name, vars(_Methods)[name])
            return dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(made)

        return decorate


class _Methods:
    """
    What every value class has; dataclass has prepared its fields and `__match_args__`.
    """

    __match_args__: ClassVar[tuple[str, ...]]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init__(self, *args: object, **given: object) -> None:
        names = self.__match_args__
        if len(args) > len(names):
            raise TypeError(f"{type(self).__name__} has {len(names)} fields, got {len(args)}")
        for name, content in zip(names, args, strict=False):
            if name in given:
                raise TypeError(f"{type(self).__name__} got {name} twice")
            given[name] = content
        for name, field in self.__dataclass_fields__.items():
            if name in given:
                content = given.pop(name)
            elif field.default is not MISSING:
                content = field.default
            elif field.default_factory is not MISSING:
                content = field.default_factory()
            else:
                raise TypeError(f"{type(self).__name__} needs {name}")
            object.__setattr__(self, name, content)
        if given:
            raise TypeError(f"{type(self).__name__} has no {', '.join(given)}")

    def __repr__(self) -> str:
        parts = (f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
        return f"{type(self).__qualname__}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _compared(self) == _compared(other)

    def __hash__(self) -> int:
        return hash(_compared(self))

    def __setattr__(self, name: str, content: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


def _compared(found: Any) -> tuple[object, ...]:  # noqa: ANN401 - any value class
    """Return the compared fields; tuples do not look into an object that both have."""
    fields = found.__dataclass_fields__.items()
    return tuple(getattr(found, name) for name, field in fields if field.compare)


_METHODS = ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__")
