"""
The documented schema of /status and its example.
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
    Return the documented example.
    """
    document = json.loads((DOCS / "status.example.json").read_text())
    assert isinstance(document, dict)
    return document


def test_the_example_matches_the_schema() -> None:
    """
    The schema itself is valid, and so is the documented example.
    """
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(example())


@pytest.mark.parametrize("name", SCHEMA["required"])
def test_the_schema_requires_every_field(name: str) -> None:
    """
    Every top-level field is required, so a reader need not check for it.
    """
    document = example()
    del document[name]
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(document)


def test_the_schema_allows_no_other_field() -> None:
    """
    A new field must be added to the schema.
    """
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate({**example(), "more": 1})
