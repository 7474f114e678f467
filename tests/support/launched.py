"""
One start of a program: its process, its output, its exit.

A thread starts it and only waits for it, so that times are exact however late a test reads
them.  The thread also creates the PID namespace: `unshare -pf` of util-linux 2.38 turns every
death by signal into exit code 1, which a direct child does not.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Literal

import psutil

from tests.support.output_reader import OutputReader
from tests.support.subjects import Launch
from tests.support.waiting import eventually

Stdout = Literal["read", "unread", "tty"]

CLONE_NEWPID = 0x20000000

#: Signals that a shell or nohup ignores for background jobs; the subject must not inherit this.
_RESET_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
# In the namespace, all by exec: exit with the tests, then mount a separate /proc.
INTO = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount-proc")


class Launched:
    """
    A program in its own session, with `pid1` as PID 1 of its own PID namespace.

    `stdout` "unread" is a pipe that is full from the start, "tty" the controlling terminal.
    """

    def __init__(self, launch: Launch, *, pid1: bool, stdout: Stdout = "read") -> None:
        self._find_pid = launch.find_pid
        words = [*(INTO if pid1 else ()), "setsid", *(["--ctty"] if stdout == "tty" else [])]
        words += launch.words
        if self._find_pid is not None:  # a container engine creates the namespace
            pid1, words = False, list(launch.words if stdout == "read" else launch.unread_words)
        self.exited = threading.Event()
        self.exited_at: float | None = None
        self._held, theirs = os.openpty() if stdout == "tty" else os.pipe()
        if stdout == "unread":
            fill(theirs)
        self.started_at = time.monotonic()
        started: Queue[subprocess.Popen[bytes] | OSError] = Queue()

        def run() -> None:
            try:
                if pid1:
                    _new_pid_namespace()
                popen = subprocess.Popen(
                    words,
                    stdin=theirs if stdout == "tty" else subprocess.DEVNULL,
                    stdout=theirs,
                    stderr=theirs if stdout == "tty" else subprocess.PIPE,
                    cwd=launch.folder,
                    env=launch.environ,
                )
            except OSError as error:
                started.put(error)
                return
            started.put(popen)
            popen.wait()
            self.exited_at = self.exited_at or time.monotonic()
            self.exited.set()

        threading.Thread(target=run, daemon=True).start()
        outcome = started.get(timeout=10)
        os.close(theirs)
        if isinstance(outcome, OSError):
            os.close(self._held)
            raise outcome
        self._popen = outcome
        self.pid = outcome.pid
        self.output = OutputReader(
            os.open(os.devnull, os.O_RDONLY) if stdout == "unread" else os.dup(self._held)
        )
        errors = self._popen.stderr
        self.stderr = OutputReader(
            os.open(os.devnull, os.O_RDONLY) if errors is None else os.dup(errors.fileno())
        )
        if errors is not None:
            errors.close()
        if self._find_pid is not None:
            self._begin_in_container(self._find_pid)
        eventually(self._begun, 10, 0.0005, "the program's first instruction")

    def wait(self, within: float) -> int | None:
        """
        Return the exit code, 128+n for a death by signal; None while it runs.
        """
        if not self.exited.wait(within):
            return None
        for reader in (self.output, self.stderr):
            reader.join(1)
        code: int = self._popen.returncode
        return 128 - code if code < 0 else code

    def type_keys(self, keys: bytes) -> None:
        """
        Type keys on its terminal.
        """
        os.write(self._held, keys)

    def drain(self) -> bytes:
        """
        Return the content of the unread pipe.
        """
        os.set_blocking(self._held, False)
        with contextlib.suppress(BlockingIOError):
            return os.read(self._held, 1 << 20)
        return b""

    def kill(self) -> None:
        """
        Kill it.
        """
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            if not self.exited.wait(5):
                self._popen.kill()
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def _begin_in_container(self, find_pid: Callable[[], int]) -> None:
        """
        Find the container's PID 1 and its times; the engine starts earlier and exits later.
        """
        self.pid = eventually(lambda: find_pid() or self.exited.is_set(), 30, what="a container")
        with contextlib.suppress(OSError, psutil.Error):
            ended = os.pidfd_open(self.pid)
            age = time.time() - psutil.Process(self.pid).create_time()
            self.started_at = time.monotonic() - age

            def run() -> None:
                select.select([ended], [], [])
                self.exited_at = time.monotonic()
                os.close(ended)

            threading.Thread(target=run, daemon=True).start()

    def _begun(self) -> bool:
        """
        Whether it runs the program itself, no longer one of the commands that exec it.
        """
        if self.exited.is_set():
            return True  # it exited before this check
        words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        name = words[0].rpartition(b"/")[2]
        is_launcher = name in {b"", b"setpriv", b"unshare", b"setsid", b"runc", b"crun"}
        return not is_launcher and not any(word.endswith(b'exec "$@"') for word in words)


def _reset_ignored_signals() -> None:
    """
    Let every program started from here on have the default action for the stop signals and HUP.

    An ignored signal stays ignored after exec, a handled one gets its default: with a handler that
    does nothing this process still ignores it.
    """
    for number in _RESET_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _ignore)


def _ignore(_number: int, _frame: object) -> None:
    pass


if threading.current_thread() is threading.main_thread():
    _reset_ignored_signals()


def _new_pid_namespace() -> None:
    """
    Make the next child of this thread PID 1 of a new namespace.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot make a PID namespace: {os.strerror(code)}")


def fill(pipe: int) -> None:
    """
    Fill a pipe of the smallest size, so that writing the first line blocks.
    """
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(pipe, False)
    try:
        while True:
            os.write(pipe, b"\n" * 4096)
    except OSError as error:
        if error.errno != errno.EAGAIN:
            raise
    os.set_blocking(pipe, True)
