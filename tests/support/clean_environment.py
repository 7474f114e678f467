"""
An interpreter that has what the image has, and nothing more.

In the developers' environment the same imports cost more: structlog loads rich wherever it is
installed.  So what is told about memory and start-up is measured in an environment made from
`requirements.lock` alone, made once and kept until the lock or the interpreter changes.
"""

import fcntl
import functools
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.checkout import CHECKOUT

LOCK = CHECKOUT / "requirements.lock"


class CleanEnvironmentError(Exception):
    """
    Why there is no such environment.
    """


@functools.cache
def clean_python() -> Path:
    """
    Return the interpreter of an environment with the locked dependencies only.  Raises CleanEnvironmentError.
    """
    stamp = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = CHECKOUT / "build" / f"clean-{stamp}"
    home.parent.mkdir(exist_ok=True)
    with (home.parent / "clean.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers may want it at the same time
        if not (home / "ready").exists():
            _make(home)
    return home / "bin" / "python"


def _make(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    # The interpreter below this one: an environment made from an environment would see it.
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    _run(str(base if base.exists() else sys.executable), "-m", "venv", str(home))
    _run(
        str(home / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "-r",
        str(LOCK),
    )
    (home / "ready").touch()


def _run(*words: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CleanEnvironmentError(f"cannot run {words[0]}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or "nothing said").splitlines()[-1]
        raise CleanEnvironmentError(
            f"cannot make a clean environment ({' '.join(words[1:4])}): {said}"
        )
