"""
Messages are plain technical English: they name the actor and use the operator's words.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT

SOURCES = sorted((CHECKOUT / "supervisor").rglob("*.py"))

#: A subject that names no actor; what people do and software does not; literary words.
FORBIDDEN = re.compile(
    r"\b(who|whom|whoever|nobody|somebody|anybody|everybody"
    r"|says?|said|tells?|told|hears?|heard|knows|wants?|wishes|speaks|remembers?|remembered"
    r"|anew|so many|at all|goes by|is to be)\b",
    re.IGNORECASE,
)


def texts(source: str) -> Iterator[tuple[int, str]]:
    """
    Yield the line and the text of every string of a module that has more than one word.

    Docstrings are left out: they are for developers.
    """
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " in text.strip() and id(node) not in docstrings:
            yield node.lineno, text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_messages_name_the_actor_in_operators_words(path: Path) -> None:
    """
    No log message, error, reply or help text uses a word that CONTRIBUTING's style rules out.
    """
    found = [(line, text) for line, text in texts(path.read_text()) if FORBIDDEN.search(text)]

    assert [] == found


def test_a_forbidden_word_is_found() -> None:
    """
    In f-strings too; a docstring may contain it.
    """
    source = '"""Nobody cares."""\nnote("x", hint=f"nobody listens at {port}")\nprint("all well")\n'

    assert [(2, "nobody listens at ")] == [
        (line, text) for line, text in texts(source) if FORBIDDEN.search(text)
    ]
