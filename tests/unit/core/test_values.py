"""
A value class behaves as a frozen dataclass with slots.
"""

from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from supervisor.core.values import value_class


@value_class(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2
    marks: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generated:
    x: int
    y: int = 2
    marks: dict[str, int] = field(default_factory=dict)


@value_class(frozen=True, slots=True)
class Other:
    x: int
    y: int = 2
    marks: dict[str, int] = field(default_factory=dict)


@value_class(frozen=True, slots=True, kw_only=True)
class Named:
    x: int = field(metadata={"meaning": "a number"})


@value_class(frozen=True, slots=True)
class Counted:
    x: int
    seen: int = field(default=0, compare=False)


@pytest.mark.parametrize(
    "args, given",
    [((1,), {}), ((1, 3), {}), ((), {"x": 1}), ((1,), {"marks": {"a": 1}}), ((1, 3, {}), {})],
)
def test_it_is_made_as_a_dataclass_is(args: tuple[Any, ...], given: dict[str, Any]) -> None:
    """
    Positions, names and defaults give the same fields, shown in the same way.
    """
    ours, generated = Point(*args, **given), Generated(*args, **given)

    assert (generated.x, generated.y, generated.marks) == (ours.x, ours.y, ours.marks)
    assert repr(generated).replace("Generated", "Point") == repr(ours)


@pytest.mark.parametrize(
    "args, given",
    [
        ((), {}),
        ((1, 2, {}, 4), {}),
        ((1,), {"x": 1}),
        ((1,), {"z": 1}),
    ],
    ids=["missing", "too many", "twice", "unknown"],
)
def test_wrong_fields_are_refused(args: tuple[Any, ...], given: dict[str, Any]) -> None:
    """
    A field that is missing, given twice or unknown is a TypeError, as for a dataclass.
    """
    for kind in (Point, Generated):
        with pytest.raises(TypeError):
            kind(*args, **given)


def test_fields_by_name_only() -> None:
    """
    With kw_only a position is refused; the metadata of the fields remains.
    """
    with pytest.raises(TypeError):
        Named(1)  # type: ignore[misc]

    assert Named(x=1) == Named(x=1)
    assert "a number" == fields(Named)[0].metadata["meaning"]


def test_it_equals_only_its_own_kind() -> None:
    """
    Equal fields of another class do not make two values equal; equal values have equal hashes.
    """
    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(1, 3)
    assert Point(1) != Other(1)
    assert hash(Named(x=1)) == hash(Named(x=1))
    assert hash(Named(x=1)) != hash(Named(x=2))


def test_fields_may_be_left_out_of_the_comparison() -> None:
    """
    A field with compare=False makes neither a value nor its hash different.
    """
    assert Counted(1, seen=1) == Counted(1, seen=2)
    assert Counted(1) != Counted(2)
    assert hash(Counted(1, seen=1)) == hash(Counted(1, seen=2))


def test_it_cannot_be_changed() -> None:
    """
    Fields can be neither assigned nor deleted, and none can be added.
    """
    point: Any = Point(1)

    for name in ("x", "z"):
        with pytest.raises(FrozenInstanceError):
            setattr(point, name, 3)
    with pytest.raises(FrozenInstanceError):
        del point.x
    assert not hasattr(point, "__dict__")


def test_each_value_has_defaults_of_its_own() -> None:
    """
    A default factory is called for each value.
    """
    Point(1).marks["a"] = 1

    assert {} == Point(1).marks


def test_it_is_a_dataclass_to_the_standard_library() -> None:
    """
    `replace` returns a changed copy, and `match` reads the fields by position.
    """
    match replace(Point(1), y=5):
        case Point(x, y):
            assert (1, 5) == (x, y)
        case _ as never:
            pytest.fail(f"no match: {never}")
