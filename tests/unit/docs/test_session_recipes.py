"""
The lines for applications with sessions in the job files.
"""

import re
from pathlib import Path

import pytest

from tests.support.job_variables import JOBS
from tests.support.recipes import recipe

#: The demo has no sessions.
FILES = sorted(path for path in JOBS.glob("*.nomad.hcl") if "demo" not in path.name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])
def test_the_job_files_have_the_recipes(path: Path) -> None:
    """
    The commented lines are the recipes of docs/traffic.md, which a test runs with Gradio.
    """
    lines = re.findall(r'^ {8}# ([A-Z_]+) += "([^"]+)" +# ', path.read_text(), re.MULTILINE)
    headings = ("Sessions with nginx 1.29.6 or newer", "Sessions by client address")
    assert [pair for name in headings for pair in recipe("traffic.md", name).settings.items()] == (
        lines
    )
