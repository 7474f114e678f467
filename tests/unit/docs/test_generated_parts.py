"""
The generated parts of the documents match the code.
"""

from pathlib import Path

import pytest

from supervisor.core.errors import ExitCode
from tools import docs


@pytest.mark.parametrize("name", docs.DOCUMENTS)
def test_generated_parts_are_current(name: str) -> None:
    """
    `make docs` regenerates the settings table, the layers and the diagrams from the code.
    """
    text = (docs.ROOT / name).read_text()

    assert docs.renewed(text) == text
    assert docs.PART.search(text)


def test_every_exit_code_is_documented() -> None:
    """
    The README has a row for each exit code.
    """
    readme = Path(docs.ROOT / "README.md").read_text()

    assert [] == [code for code in ExitCode if f"| {int(code)} |" not in readme]
