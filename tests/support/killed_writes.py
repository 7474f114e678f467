"""
The writing of files, killed at every system call.

`python -m tests.support.killed_writes configs|records FOLDER` repeats the same writes, each time
in a new folder and in a process that gets SIGKILL one step later: between two system calls, or
in the middle of a write.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from supervisor.core.config.load import read
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.model import Endpoint, Mode, Plan
from supervisor.nginx.config_store import ConfigStore
from supervisor.nginx.render import RenderContext, RenderedConfig, Renderer
from supervisor.nginx.templates import read_templates
from supervisor.system.state_file import save_record

#: The functions of `os` that the two write paths call, and some that they might call.
STEPS = (
    *("open", "write", "close", "fsync", "mkdir", "rmdir", "unlink", "remove", "symlink", "link"),
    *("rename", "replace", "chmod", "fdatasync", "truncate", "ftruncate", "pwrite", "scandir"),
)

OLD = DeadlineRecord("a", 1000.0, "TTL=1h", 4600.0)
NEW = DeadlineRecord("a", 1000.0, "TTL=1h", 4600.0, extended_to=9999.5)


def plan(number: int) -> Plan:
    """
    Return a plan whose length and content depend on the number.
    """
    return Plan(tuple(Endpoint("10.0.0.1", 8000 + n) for n in range(number)), Mode.SERVE)


def renderer(folder: Path) -> Renderer:
    """
    Return a renderer of these plans for a folder.
    """
    settings = read({"ENDPOINTS": "10.0.0.1:1"}, lambda _: False)
    frame = RenderContext(settings, (1, 22, 1), str(folder), 1, 1024, 512, ("127.0.0.1:1",))
    return Renderer(frame, read_templates())


def configs(folder: Path) -> ConfigStore:
    """
    Return the store of configurations in a folder.
    """
    return ConfigStore(folder, renderer(folder), lambda: {"conf.d/mine.conf": b"# mine\n" * 50})


def bundles(folder: Path) -> list[RenderedConfig]:
    """
    Return the three configurations that may be live, each complete, after a killed write.
    """
    operator = {"conf.d/mine.conf": b"# mine\n" * 50}
    found = renderer(folder)
    return [found.render(plan(number), number, 0, operator) for number in (1, 2, 3)]


def before_configs(folder: Path) -> ConfigStore:
    """
    Make the first configuration live and the last good one.
    """
    found = configs(folder)
    found.stage(1, plan(1), 0)
    found.swap(1)
    found.keep(1)
    return found


def change_configs(found: ConfigStore) -> None:
    """
    Make one change that succeeds, and one that is rolled back.
    """
    found.stage(2, plan(2), 0)
    found.swap(2)
    found.keep(2)
    found.stage(3, plan(3), 0)
    found.swap(3)
    found.restore()
    found.discard(3)


def before_record(folder: Path) -> Path:
    """
    Save the old record.
    """
    save_record(folder, OLD)
    return folder


def at_each_step(
    folder: Path, prepare: Callable[[Path], Any], act: Callable[[Any], None]
) -> Iterator[tuple[Path, bool]]:
    """
    Yield the folder after each kill, and whether the work was completed.
    """
    for last in itertools.count(1):
        attempt = folder / f"{last:03}"
        attempt.mkdir()
        prepared = prepare(attempt)
        child = os.fork()
        if child == 0:
            with killed_at(last):
                act(prepared)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        yield attempt, status == 0
        if status == 0:
            return


@contextmanager
def killed_at(last: int) -> Iterator[None]:
    """
    Kill this process instead of the `last` system call; a write is done by half first.
    """
    steps = itertools.count(1)

    def step(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - any call of os
            if name == "write" and next(steps) == last:
                real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            if next(steps) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return counted

    for name in STEPS:
        setattr(os, name, step(name, getattr(os, name)))
    yield


def main(what: str, folder: Path) -> None:
    """
    Create one folder for each step.
    """
    if what == "configs":
        for _ in at_each_step(folder, before_configs, change_configs):
            pass
    else:
        for _ in at_each_step(folder, before_record, lambda place: save_record(place, NEW)):
            pass


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
