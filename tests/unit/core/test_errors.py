"""
Exit codes of other processes.
"""

import pytest

from supervisor.core.errors import shell_exit_code


@pytest.mark.parametrize("code, shell", [(0, 0), (78, 78), (-9, 137), (-15, 143)])
def test_an_end_by_signal_is_128_and_its_number(code: int, shell: int) -> None:
    """
    A process that exits keeps its code; one that signal n ends has 128 + n.
    """
    assert shell == shell_exit_code(code)
