"""
The small processes of a soak or a storm, such as its clients.
"""

import subprocess
import sys
from pathlib import Path

_SUPPORT = Path(__file__).parent.parent


def script(name: str, *words: str) -> subprocess.Popen[str]:
    """
    Start a script of this folder's parent; its stdin ends it, its stdout is what it reports.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_SUPPORT / name), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
