"""
Interpreters with other packages than the developers' environment.

One has the packages of the image only: in the developers' environment the same imports cost more,
because structlog loads rich if it is installed.  Others have an application that is too large for
every developer.  Each is made once and kept until its packages or the interpreter change.
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
    Return an interpreter with the image's packages.  Raises CleanEnvironmentError.
    """
    return environment("clean", LOCK.read_bytes(), "--require-hashes", "-r", str(LOCK))


def environment(name: str, identity: bytes, *install: str) -> Path:
    """
    Return an interpreter with the packages of `pip install`, after creating it if necessary.

    `identity` changes when the packages change.  Raises CleanEnvironmentError.
    """
    stamp = hashlib.sha256(identity + sys.version.encode()).hexdigest()[:12]
    home = CHECKOUT / "build" / f"{name}-{stamp}"
    home.parent.mkdir(exist_ok=True)
    with (home.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers may create it at the same time
        if not (home / "ready").exists():
            _make(home, install)
    return home / "bin" / "python"


def _make(home: Path, install: tuple[str, ...]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    # The base interpreter: an environment made from a virtual one would include its packages.
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    _run(str(base if base.exists() else sys.executable), "-m", "venv", str(home))
    _run(str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *install)
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
