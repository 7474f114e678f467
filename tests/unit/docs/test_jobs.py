"""
The job files that users submit.
"""

import re

from tests.support.checkout import CHECKOUT


def test_each_job_has_its_own_name() -> None:
    """
    Nomad takes a second job of the same name for a new version of the first, and replaces it.
    """
    files = sorted((CHECKOUT / "jobs").glob("*.nomad.hcl"))
    names = [
        name
        for file in files
        for name in re.findall(r'^job "([^"]+)"', file.read_text(), re.MULTILINE)
    ]

    assert len(files) == len(names) == len(set(names))
