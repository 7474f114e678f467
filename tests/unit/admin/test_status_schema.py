"""
The documented form of what /status answers.
"""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.support.checkout import CHECKOUT

DOCS = CHECKOUT / "docs"
SCHEMA = json.loads((DOCS / "status.schema.json").read_text())


def example() -> dict[str, Any]:
    """
    Return the example that the documentation shows.
    """
    found = json.loads((DOCS / "status.example.json").read_text())
    assert isinstance(found, dict)
    return found


def test_the_schema_is_one_and_the_example_is_of_it() -> None:
    """
    What people copy from is right.
    """
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(example())


@pytest.mark.parametrize("name", SCHEMA["required"])
def test_the_schema_sees_what_is_missing(name: str) -> None:
    """
    Every field of the document is there, always: a reader need not ask.
    """
    document = example()
    del document[name]
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(document)


def test_nothing_is_in_the_document_that_is_not_in_the_schema() -> None:
    """
    Whoever adds a field documents it.
    """
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate({**example(), "more": 1})
