import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.core.model import ServerOptions
from supervisor.discovery.tags import parse

DEFAULT = ServerOptions()


@pytest.mark.parametrize(
    "tags, options",
    [
        ([], DEFAULT),
        (["v1", "traefik.enable=true", "lbx", "lb", "", "weight=3"], DEFAULT),
        (["lb.weight=1"], DEFAULT),
        (["lb.weight=3"], ServerOptions(weight=3)),
        (["v1", "lb.weight=1000", "lb.weight=1000"], ServerOptions(weight=1000)),
        (["lb.backup"], ServerOptions(backup=True)),
        (["lb.drain", "lb.drain"], ServerOptions(drain=True)),
        (["lb.drain", "lb.weight=999", "lb.backup"], ServerOptions(999, backup=True, drain=True)),
    ],
)
def test_three_tags_are_parsed(tags: list[str], options: ServerOptions) -> None:
    """
    A weight from 1 to 1000, backup and drain; tags with another prefix are ignored.
    """
    assert (options, 0) == parse(tags)


@pytest.mark.parametrize(
    "tag",
    [
        *("lb.", "lb.wieght=3", "lb.weight", "lb.weight=", "lb.weight:3", "lb.weight=3 "),
        *("lb.weight=0", "lb.weight=1001", "lb.weight=10000", "lb.weight=03", "lb.weight=+3"),
        *("lb.weight=-1", "lb.weight=3.0", "lb.weight=1e2", "lb.weight=3\n", "lb.weight=3;"),
        *("lb.weight=\u0663", "lb.weight=\uff13", "lb.Weight=3", "lb.weight=3,lb.backup"),
        *("lb.backup=yes", "lb.backup=false", "lb.Backup", "lb.drain ", "lb.drain\0", "lb..drain"),
    ],
)
def test_any_other_tag_with_the_prefix_is_invalid(tag: str) -> None:
    """
    A typing error has no effect, and is counted so that it can be reported.
    """
    assert (DEFAULT, 1) == parse([tag])
    assert (ServerOptions(weight=2), 1) == parse(["lb.weight=2", tag])


@pytest.mark.parametrize("tag", ["LB.weight=3", "Lb.drain", " lb.backup", "lb,weight=3"])
def test_another_prefix_is_ignored(tag: str) -> None:
    """
    The prefix is matched exactly, case included.
    """
    assert (DEFAULT, 0) == parse([tag])


def test_weights_that_contradict_each_other_are_invalid() -> None:
    """
    None of them is used, all are counted as invalid; the other tags still count.
    """
    assert (DEFAULT, 2) == parse(["lb.weight=3", "lb.weight=4"])
    assert (ServerOptions(drain=True), 4) == parse(
        ["lb.weight=3", "lb.weight=3", "lb.x", "lb.drain", "lb.weight=1"]
    )


@pytest.mark.parametrize("tags", [None, "lb.drain", {"lb.drain": 1}, 5, ("lb.drain",), True])
def test_a_value_that_is_no_list_is_ignored(tags: object) -> None:
    """
    Nomad sends null if there are no tags.
    """
    assert (DEFAULT, 0) == parse(tags)


def test_a_value_that_is_no_string_is_ignored() -> None:
    """
    The strings in the same list still count.
    """
    assert (ServerOptions(backup=True), 0) == parse(
        [None, 3, ["lb.drain"], {}, "lb.backup", b"lb.x"]
    )


@hypothesis(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=12).map("lb.".__add__) | st.from_regex(r"lb\.weight=\d+")))
def test_the_options_are_a_number_and_two_booleans_for_any_tags(tags: list[str]) -> None:
    """
    No text of a tag is returned, and no value out of bounds.
    """
    options, invalid = parse(tags)

    assert type(options.weight) is int
    assert 1 <= options.weight <= 1000
    assert (bool, bool) == (type(options.backup), type(options.drain))
    assert 0 <= invalid <= len(tags)
