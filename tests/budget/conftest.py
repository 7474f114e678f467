"""
The interpreter for the measurements.
"""

from pathlib import Path

import pytest

from tests.support.clean_environment import CleanEnvironmentError, clean_python


@pytest.fixture(scope="session")
def clean() -> Path:
    """
    An interpreter with the locked dependencies only; skips if pip cannot install them.
    """
    try:
        return clean_python()
    except CleanEnvironmentError as reason:
        pytest.skip(str(reason))
