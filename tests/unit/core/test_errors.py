"""
Exit codes of other processes, and errors of the start.
"""

import pytest

from supervisor.core.errors import ExitCode, FolderInUse, shell_exit_code


@pytest.mark.parametrize("code, shell", [(0, 0), (78, 78), (-9, 137), (-15, 143)])
def test_an_end_by_signal_is_128_and_its_number(code: int, shell: int) -> None:
    """
    A process that exits keeps its code; one that signal n ends has 128 + n.
    """
    assert shell == shell_exit_code(code)


def test_a_folder_in_use_is_named() -> None:
    """
    It is a mistake of the configuration: each supervisor needs a folder of its own.
    """
    error = FolderInUse("STATE_DIR='/s'")

    assert ExitCode.CONFIG == error.code
    assert ("cannot use STATE_DIR='/s': another autoexit-nginx uses it; giving up",) == error.lines
