"""
An interpreter with the packages of the image only.

In the developers' environment the same imports cost more: structlog loads rich if it is
installed.  Memory and start-up are therefore measured in an environment made from
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
    The environment cannot be created; the message has the reason.
    """


@functools.cache
def clean_python() -> Path:
    """
    Return its interpreter, after creating it if necessary.  Raises CleanEnvironmentError.
    """
    stamp = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = CHECKOUT / "build" / f"clean-{stamp}"
    home.parent.mkdir(exist_ok=True)
    with (home.parent / "clean.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers may create it at the same time
        if not (home / "ready").exists():
            _make(home)
    return home / "bin" / "python"


def _make(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    # The base interpreter: an environment made from a virtual one would include its packages.
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
        reason = (done.stderr.strip() or "no output").splitlines()[-1]
        raise CleanEnvironmentError(
            f"cannot create a clean environment ({' '.join(words[1:4])}): {reason}"
        )
