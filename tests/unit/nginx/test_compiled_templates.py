"""
Compiled templates are used while they fit, and never instead of the text.
"""

import pytest

from supervisor.nginx.render import Compiled, template_environment

NAME = "upstream.conf.j2"


def rendered(text: str, compiled: Compiled) -> str:
    """
    Return what a template renders.
    """
    return template_environment({NAME: text}, compiled).get_template(NAME).render(n=1)


def test_a_template_is_compiled_once() -> None:
    """
    What was compiled is used by the next environment, which compiles nothing.
    """
    first = Compiled({})
    assert "one 1" == rendered("one {{ n }}", first)
    second = Compiled(first.new)
    assert "one 1" == rendered("one {{ n }}", second)

    assert 1 == len(first.new)
    assert {} == second.new


def test_another_text_is_compiled_again() -> None:
    """
    A changed template replaces what was compiled from the old text.
    """
    first = Compiled({})
    rendered("one {{ n }}", first)
    second = Compiled(first.new)

    assert "two 1" == rendered("two {{ n }}", second)
    assert first.new.keys() == second.new.keys()
    assert first.new != second.new


@pytest.mark.parametrize("keep", [0, 5, 30, -5])
def test_damaged_code_is_compiled_again(keep: int) -> None:
    """
    Whatever is left of the compiled code, the template is rendered from its text.
    """
    first = Compiled({})
    rendered("one {{ n }}", first)
    second = Compiled({key: code[:keep] for key, code in first.new.items()})

    assert "one 1" == rendered("one {{ n }}", second)
    assert first.new == second.new
