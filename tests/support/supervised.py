"""
The program under test as a real process.

With `pid1` it is PID 1 of its own namespace, as in a container: signals without a handler are
dropped, orphans become its children, and all processes end with it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import pytest

from tests.support.fake_nomad import Endpoint, FakeNomad
from tests.support.image import subject_for, why_no_start
from tests.support.launched import Launched, Stdout
from tests.support.namespaces import ProcessTree, why_no_unshare
from tests.support.program import Program
from tests.support.replica import Replica
from tests.support.subjects import Subject, chosen
from tests.support.waiting import free_port


class Supervised(Program):
    """
    One subject in its own home folder; it may be started again after it exited.

    `settings` are environment variables; None removes a default one.
    """

    def __init__(
        self,
        nomad: FakeNomad | None = None,
        *,
        pid1: bool = True,
        stdout: Stdout = "read",
        subject: Subject | None = None,
        **settings: str | None,
    ) -> None:
        why_not = why_no_start() if chosen() == "image" else pid1 and why_no_unshare()
        if why_not:
            pytest.skip(why_not)
        self._own_nomad = nomad is None
        self.nomad = nomad or FakeNomad().start()
        self.subject = subject or subject_for(self.nomad)
        self.pid1 = pid1
        self.stdout: Stdout = stdout
        home = Path(tempfile.mkdtemp(prefix="ax-", dir="/tmp"))  # short, for unix sockets
        home.chmod(0o711)  # nginx's workers run as another user
        port = int(settings.get("LISTEN_PORT") or free_port())
        super().__init__(home, Path(settings.get("STATE_DIR") or home / "state"), port)
        for folder in ("operator/conf.d", "operator/server.d"):
            (self.home / folder).mkdir(parents=True)
        self.settings: dict[str, str | None] = {"LISTEN_PORT": str(self.port), **settings}

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> Self:
        """
        Start it and return once its first instruction runs; it may not serve yet.
        """
        self._end()
        launch = self.subject.launch(self.home, self._settings())
        environ = {name: launch.environ[name] for name in launch.environ.keys() - self._removed}
        launch = replace(launch, environ=environ)
        self._run = Launched(launch, pid1=self.pid1, stdout=self.stdout)
        self._tree = ProcessTree(self.pid, f"{self.home}/", pid1=self.pid1)
        return self

    def signal(self, *numbers: int) -> None:
        """
        Send it signals from the host, as a container engine does.
        """
        if self._tree is not None:
            self._tree.refresh()
        for number in numbers:
            os.kill(self.pid, number)

    def wait(self, within: float = 10.0) -> int:
        """
        Wait until it exits and return its exit code, 128+n for a death by signal.
        """
        code = self.run.wait(within)
        assert code is not None, f"still running after {within:g} s\n{self.recent_output}"
        return code

    def close(self) -> None:
        """
        Kill all its processes and remove its home folder.
        """
        self._end()
        if self._own_nomad:
            self.nomad.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def environ(self) -> dict[str, str]:
        """
        The whole environment of a start, for a command beside it.
        """
        environ = self.subject.launch(self.home, self._settings()).environ
        return {name: value for name, value in environ.items() if name not in self._removed}

    # -- input ---------------------------------------------------------------------------------

    def offer(self, *endpoints: Replica | Endpoint) -> None:
        """
        Set the service's endpoints, in the registry or as a template would.
        """
        pairs = [e.endpoint if isinstance(e, Replica) else e for e in endpoints]
        if self.subject.offer(pairs) and self._run is not None and self.running:
            self.signal(signal.SIGHUP)

    def write_in(self, folder: Literal["conf.d", "server.d"], name: str, text: str) -> Path:
        """
        Write an operator's file; it is read at the next start or SIGHUP.
        """
        path = self.home / "operator" / folder / name
        path.write_text(text)
        return path

    def run_inside(self, shell: str, within: float = 10.0) -> str:
        """
        Run a shell line in its PID namespace and return the output.
        """
        enter = ["nsenter", "-t", str(self.pid), "-p", "-m"] if self.pid1 else []
        with tempfile.TemporaryFile() as output:  # a pipe would stay open in orphans
            subprocess.run(
                [*enter, "sh", "-c", shell],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=within,
                check=False,
            )
            output.seek(0)
            return output.read().decode("utf-8", "replace")

    # -- internal ------------------------------------------------------------------------------

    @property
    def _removed(self) -> set[str]:
        return {name for name, value in self.settings.items() if value is None}

    def _settings(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if n in {"PATH", "TZ"} or "COVERAGE" in n}
        given = {name: value for name, value in self.settings.items() if value is not None}
        return {"LANG": "C.UTF-8", **kept, **given}

    def _end(self) -> None:
        if self._tree is not None:
            self._tree.kill()
        if self._run is not None:
            self._run.kill()
