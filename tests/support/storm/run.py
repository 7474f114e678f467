"""
A storm: the planned faults happen at their times under verified traffic, endpoints change all the
time, and every loss is sorted by its cause.
"""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from typing import Any, TextIO

from tests.support.client import get
from tests.support.soak.script import script
from tests.support.storm.causes import Causes, Happened, Loss, Stall, exit_cause_of
from tests.support.storm.faults import EXITED, Shape
from tests.support.storm.scene import Scene
from tests.support.storm.schedule import Planned, schedule

#: Seconds between two changes of the registry, and between two looks at the program.
_CHANGE_EVERY = 1.5
_LOOK_EVERY = 0.02

#: Seconds without faults at the end: by then everything must have recovered.
_QUIET = 8.0

#: Seconds until a program that gave up is started again.
_PAUSE = 0.5


@dataclass(slots=True)
class StormResult:
    """
    Faults as they were, the number of verified answers by client, losses by cause, and what
    nothing explains: losses, and other wrong things as text.
    """

    seconds: float = 0.0
    faults: list[Happened] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    verified: Counter[str] = field(default_factory=Counter)
    causes: dict[str, Counter[Shape]] = field(default_factory=dict)
    unexplained: list[Loss] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    changes: int = 0
    reloads: int = 0
    starts: int = 1

    @property
    def is_good(self) -> bool:
        """
        Whether every loss is explained, and nothing else was wrong.
        """
        return not self.unexplained and not self.wrong


def storm(
    seed: int,
    seconds: float,
    *,
    log: TextIO | None = None,
    command: tuple[str, ...] = (),
    **settings: Any,
) -> StormResult:
    """
    Run the faults of a seed; `log` gets every fault, loss and log line with its time.

    `command` replaces the program's command line; `settings` are its settings.
    """
    result = StormResult()
    with ExitStack() as stack:
        scene = Scene(stack, command, **settings)
        words = (str(scene.program.port), str(scene.replicas[0].port))
        clients = Clients(script("storm/clients.py", *words))
        stack.callback(clients.end)
        run = _Run(scene, result, log)
        run.through(schedule(seed, seconds), seconds)
        run.stop()
        clients.end()
        result.stalls, result.verified = clients.stalls, clients.verified
        causes = Causes(result.faults, result.stalls)
        for loss in clients.losses:
            # After the end of the program nothing is answered.
            if loss.ended >= run.stopped_at:
                continue
            cause = causes.of(loss)
            run.log(loss.ended, f"lost by {cause or 'UNEXPLAINED'}: {loss}")
            if cause:
                result.causes.setdefault(cause, Counter())[loss.shape] += 1
            else:
                result.unexplained.append(loss)
    return result


class Clients:
    """
    The clients' process, and what it reports.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.losses: list[Loss] = []
        self.stalls: list[Stall] = []
        self.verified: Counter[str] = Counter()
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """
        End them, and read the rest.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._thread.join(10)
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            match json.loads(line):
                case {"stall": [began, ended]}:
                    self.stalls.append(Stall(began, ended))
                case {"verified": counts}:
                    self.verified.update(counts)
                case lost:
                    tried = tuple(lost.pop("tried"))
                    self.losses.append(Loss(shape=Shape(lost.pop("shape")), tried=tried, **lost))
        self._process.stdout.close()


class _Run:
    """
    Makes the faults happen, and starts the program again when it has ended.
    """

    def __init__(self, scene: Scene, result: StormResult, log: TextIO | None) -> None:
        self._scene = scene
        self._result = result
        self._log = log
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._turn = 0
        self._began = self._end = self.stopped_at = time.monotonic()
        self._run_began = self._began
        self._exits: list[tuple[float, Happened, str]] = []

    def through(self, plan: list[Planned], seconds: float) -> None:
        """
        Let all faults happen and end, then watch the recovery.
        """
        self._began = time.monotonic()
        self._end = self._began + seconds
        for planned in plan:
            self._at(self._began + planned.at, partial(self._begin, planned))
        self._at(self._began, self._change)
        while self._due or time.monotonic() < self._end + _QUIET:
            self._watch()
            if self._due and self._due[0][0] <= time.monotonic():
                heappop(self._due)[2]()
            else:
                time.sleep(_LOOK_EVERY)
            if self._due:
                self._end = max(self._end, min(self._due[0][0], time.monotonic()))
        self._check_recovery()
        self._result.seconds = time.monotonic() - self._began

    def stop(self) -> None:
        """
        Stop the program as Nomad does, and judge how it has ended each time.
        """
        self.stopped_at = time.monotonic()
        self._scene.program.signal(15)
        code = self._scene.program.wait(15)
        if code != 0:
            self._result.wrong.append(f"the program ended with {code} after SIGTERM")
        for began, exited, text in self._exits:
            if not exit_cause_of(began, exited, self._result.faults):
                self._result.wrong.append(text)

    def log(self, at: float, text: str) -> None:
        """
        Write a line with its time since the beginning.
        """
        if self._log is not None:
            print(f"{at - self._began:8.3f} {text}", file=self._log, flush=True)

    def _at(self, when: float, do: Callable[[], None]) -> None:
        self._turn += 1
        heappush(self._due, (when, self._turn, do))

    def _change(self) -> None:
        now = time.monotonic()
        if now < self._began + (self._end - self._began):
            self._scene.change()
            self._result.changes += 1
            self._at(now + _CHANGE_EVERY, self._change)

    def _begin(self, planned: Planned) -> None:
        kind, began = planned.kind, time.monotonic()
        undo = self._scene.apply(planned)
        done = time.monotonic()
        names = frozenset(self._scene.replicas[n].name for n in planned.replicas)
        where = f"{kind.name} {' '.join(sorted(names))}"
        self.log(
            began, f"{'left out' if undo is None else 'FAULT'}: {where} {planned.seconds:.1f} s"
        )
        if undo is None:
            self._result.left_out[kind.name] += 1
            return

        def end() -> None:
            undo()
            ended = time.monotonic()
            self._result.faults.append(Happened(kind, began, done, ended, names))
            self.log(ended, f"ended: {where}")
            if kind.name == "supervisor killed":
                self._has_started()

        self._at(done + planned.seconds, end)

    def _watch(self) -> None:
        """See what the program logs, and start it again if it has ended by itself."""
        program = self._scene.program
        for line in program.run.output.take_records():
            self._see(line)
        if program.running or self._scene.killed:
            return
        if time.monotonic() < program.exit_time + _PAUSE:
            return
        at, code, output = program.exit_time, program.wait(1), program.recent_output
        for line in program.run.output.take_records():
            self._see(line)
        self._scene.restart(pid1=program.pid1)
        fault = Happened(EXITED, at, at, time.monotonic())
        self.log(at, f"EXIT {code}: {output}")
        text = f"at {at - self._began:.1f} s the program ended with {code}"
        self._exits.append((self._run_began, fault, text))
        self._result.faults.append(fault)
        self._has_started()

    def _has_started(self) -> None:
        self._run_began = time.monotonic()
        self._result.starts += 1

    def _see(self, line: dict[str, Any]) -> None:
        if line["event"] == "reload.applied":
            self._scene.is_ready = True
            self._result.reloads += 1
        self.log(time.monotonic(), json.dumps(line))
        if line["event"] == "internal_error" or line["level"] == "critical":
            self._result.wrong.append(json.dumps(line))

    def _check_recovery(self) -> None:
        """Check that the program says it is well once all faults have ended."""
        for path in ("healthz", "readyz"):
            try:
                code = get(self._scene.program.home / "run" / "supervisor.sock", f"/{path}").status
            except OSError as error:
                self._result.wrong.append(f"after the storm: {path}: {error!r}")
            else:
                if code != 200:
                    self._result.wrong.append(f"after the storm: {path}: {code}")
