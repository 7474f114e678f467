"""
The documents say what the code does.
"""

from pathlib import Path

import pytest

from supervisor.core.errors import ExitCode
from tools import docs


@pytest.mark.parametrize("name", docs.DOCUMENTS)
def test_generated_parts_are_current(name: str) -> None:
    """
    The settings table, the floors and the diagrams come from the code: `make docs` renews them.
    """
    text = (docs.ROOT / name).read_text()

    assert docs.renewed(text) == text
    assert docs.PART.search(text)


def test_every_exit_code_is_documented() -> None:
    """
    The exit codes are a contract: the README has a row for each.
    """
    readme = Path(docs.ROOT / "README.md").read_text()

    assert [] == [code for code in ExitCode if f"| {int(code)} |" not in readme]
