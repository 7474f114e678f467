"""
What a storm happens to: replicas, a registry, the program, and the effects of every kind of fault.

It must run in a mount namespace of its own, as root, because it mounts file systems.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psutil

from tests.support.fake_nomad import FakeNomad
from tests.support.namespaces import ProcessTree
from tests.support.nomad_faults import body as with_body
from tests.support.nomad_faults import body_drip, empty, hang, status, truncated
from tests.support.soak.script import script
from tests.support.storm.disk import Disk
from tests.support.storm.schedule import REPLICAS, Planned
from tests.support.subjects import Ours
from tests.support.supervised import Supervised

#: The number of replicas that the registry lists.
_LISTED = 6

#: Files that something removes from RUNTIME_DIR or STATE_DIR.
_FILES = (
    ("run", "gen-*.sock"),
    ("run", "cur-*.sock"),
    ("run", "current.sock"),
    ("run", "supervisor.sock"),
    ("run", "lock"),
    ("run", "endpoints.json"),
    ("run", "nginx.pid"),
    ("run", "conf"),
    ("run", "over"),
    ("state", "state.json"),
)

_TRIED = "add_header X-Tried $upstream_addr always;\n"

Undo = Callable[[], None]


class Program(Supervised):
    """
    The program; a start does not end what an earlier, killed run has left.
    """

    def _end(self) -> None:
        if self._run is not None:
            self._run.kill()

    def close(self) -> None:
        """
        Kill all its processes, of earlier runs too, and remove its home folder.
        """
        tree = ProcessTree(self.pid, f"{self.home}/", pid1=False)
        self._end()
        tree.kill()
        super().close()


class Replica:
    """
    A replica's process, on an address of its own.
    """

    def __init__(self, number: int, port: int) -> None:
        self.address = f"127.1.0.{number + 1}"
        self.port = port
        self._process: subprocess.Popen[str] | None = None

    @property
    def name(self) -> str:
        """
        Address and port, as nginx writes them.
        """
        return f"{self.address}:{self.port}"

    def start(self) -> None:
        """
        Start it, unless it runs, and wait until it listens.
        """
        if self._process is not None:
            return
        self._process = script("storm/replicas.py", self.address, str(self.port))
        self._await("ready")

    def kill(self) -> None:
        """
        Kill it.
        """
        if self._process is not None:
            _end(self._process)
            self._process = None

    def signal(self, number: int) -> None:
        """
        Signal it.
        """
        if self._process is not None:
            self._process.send_signal(number)

    def tell(self, line: str) -> None:
        """
        Tell it what to do, and wait until it is done; a dead one does not hear it.

        On a busy machine a fault can end so late that the next one has killed the replica.
        """
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        self._await("done")

    def _await(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line == word, f"{self.name}: {line!r}"


class Scene:
    """
    Everything, running; `apply` makes a fault happen and returns what ends it.
    """

    def __init__(self, stack: ExitStack, command: tuple[str, ...], **settings: Any) -> None:
        port = _port()
        self.replicas = [Replica(number, port) for number in range(REPLICAS)]
        for replica in self.replicas:
            stack.callback(replica.kill)
            replica.start()
        self.nomad = stack.enter_context(FakeNomad())
        self._turn = 0
        self.change()
        self.program = Program(
            self.nomad,
            pid1=True,
            LISTEN_PORT=str(_port()),
            subject=Ours(self.nomad, "web", *([command] if command else [])),
            **settings,
        )
        stack.callback(self._close)
        self.is_ready = False
        self.killed = False
        self.run = Disk(self.program.home / "run", self._namespace)
        self.state = Disk(self.program.home / "state", self._namespace)
        # Of the public server, and of the one that gets requests from old workers.
        self.program.write_in("server.d", "tried.conf", _TRIED)
        self.program.write_in("conf.d", "tried.conf", _TRIED)
        self.program.start()
        self.program.ready(30, status=200, path="/fast/0")

    def change(self) -> None:
        """
        List the next replicas in the registry: one leaves, one comes.
        """
        listed = [self.replicas[(self._turn + n) % REPLICAS] for n in range(_LISTED)]
        self.nomad.set("web", [(each.address, each.port) for each in listed])
        self.nomad.requests.clear()
        self._turn += 1

    def restart(self, *, pid1: bool) -> None:
        """
        Start the program again in the same folders.
        """
        self.program.pid1 = pid1
        self.killed = False
        self.is_ready = False
        self.program.start()

    def apply(self, planned: Planned) -> Undo | None:
        """
        Make a fault happen; None if it cannot happen now.
        """
        name = planned.kind.name
        if planned.kind.part == "replica":
            return self._to_replicas(name, [self.replicas[n] for n in planned.replicas])
        if planned.kind.part == "registry":
            return self._to_registry(name)
        if planned.kind.part == "disk":
            return self._to_disk(name, planned.chance)
        if not self.program.running:
            return None
        if planned.kind.part == "nginx":
            return self._to_nginx(name, planned.chance)
        if planned.kind.part == "signal":
            return self._signal(name, planned.chance) if self.is_ready else None
        if name == "supervisor stopped":
            return _stopped([self.program.pid])
        self.killed = True
        self.program.signal(signal.SIGKILL)
        self.program.run.exited.wait(10)
        return lambda: self.restart(pid1=planned.chance < 0.5)

    # -- the effects ---------------------------------------------------------------------------

    def _to_replicas(self, name: str, hit: list[Replica]) -> Undo:
        do, undo = _TO_REPLICAS[name]
        for each in hit:
            do(each)

        def end() -> None:
            for each in hit:
                undo(each)

        return end

    def _to_registry(self, name: str) -> Undo:
        nomad = self.nomad

        def undo() -> None:
            nomad.heal()
            nomad.stop()  # ends what hangs
            nomad.start()

        if name == "registry down":
            nomad.stop()
            return undo
        dead = [{"Address": f"127.1.1.{n}", "Port": self.replicas[0].port} for n in (1, 2, 3)]
        faults = {
            "registry fails": status(500, "No cluster leader"),
            "registry hangs": hang(),
            "registry slow": body_drip(0.01),
            "registry sends garbage": with_body('[{"Address": "127.1.0.1", "Po'),
            "registry cuts answers": truncated(),
            "registry lists nothing": empty(),
            "registry lists dead replicas only": with_body(json.dumps(dead)),
        }
        nomad.fault(faults[name])
        return undo

    def _to_nginx(self, name: str, chance: float) -> Undo | None:
        master, workers = self.program.nginx_master(), self.program.nginx_workers()
        if master is None or not workers:
            return None
        one = workers[int(chance * len(workers))]
        match name:
            case "worker killed":
                return _killed([one])
            case "workers killed":
                return _killed(workers)
            case "worker stopped":
                return _stopped([one])
            case "nginx stopped":
                return _stopped([master, *workers, *self.program.draining_workers()])
            case "master stopped":
                return _stopped([master])
            case "master killed":
                return _killed([master])
            case _:
                return _killed([master], signal.SIGTERM)

    def _to_disk(self, name: str, chance: float) -> Undo | None:
        if name == "files removed":
            where, pattern = _FILES[int(chance * len(_FILES))]
            for path in (self.program.home / where).glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            return _nothing
        return (self.state if name.startswith("STATE_DIR") else self.run).apply(name)

    def _signal(self, name: str, chance: float) -> Undo | None:
        master = self.program.nginx_master()
        count = 1 + int(chance * 10)
        match name:
            case "SIGHUP burst":
                for _ in range(count):
                    self.program.signal(signal.SIGHUP)
                    time.sleep(0.01)
            case "other signals":
                numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT)
                self.program.signal(*numbers, signal.SIGPIPE)
            case _ if master is None:
                return None
            case "master reloaded":
                _send([psutil.Process(master)], signal.SIGHUP)
            case _:
                _send([psutil.Process(master)], signal.SIGUSR1)
        return _nothing

    def _close(self) -> None:
        for process in self.program.processes():
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGCONT)
        self.program.nomad.stop()
        for disk in (self.run, self.state):
            disk.close()
        self.program.close()

    def _namespace(self) -> int:
        """Return a pid in the program's mount namespace, 0 if it is this process's own."""
        return self.program.pid if self.program.pid1 and self.program.running else 0


def _port() -> int:
    """Return a port that nobody takes while its listener is dead: above the kernel's own choice."""
    while True:
        port = random.randrange(61_000, 65_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port


def _signalling(number: int) -> Callable[[Replica], None]:
    return lambda replica: replica.signal(number)


def _telling(line: str) -> Callable[[Replica], None]:
    return lambda replica: replica.tell(line)


def _nothing(*_: object) -> None:
    pass


#: What begins and ends each fault of replicas.
_TO_REPLICAS: dict[str, tuple[Callable[[Replica], None], Callable[[Replica], None]]] = {
    "replica killed": (Replica.kill, Replica.start),
    "replicas killed": (Replica.kill, Replica.start),
    "replica restarted": (Replica.kill, Replica.start),
    "replica stopped": (_signalling(signal.SIGSTOP), _signalling(signal.SIGCONT)),
    "replica slow": (_telling("slow 1.0"), _telling("slow 0")),
    "replica reset": (_telling("reset"), _nothing),
    "replica refuses": (_telling("refuse"), _telling("accept")),
}


def _send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _found(pids: list[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            yield psutil.Process(pid)


def _stopped(pids: list[int]) -> Undo:
    processes = list(_found(pids))
    _send(processes, signal.SIGSTOP)
    return lambda: _send(processes, signal.SIGCONT)


def _killed(pids: list[int], number: int = signal.SIGKILL) -> Undo:
    processes = list(_found(pids))
    _send(processes, number)
    return _nothing


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
