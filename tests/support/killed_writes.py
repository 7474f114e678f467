"""
The writing of files, killed at every step of the way.

`python -m tests.support.killed_writes configs|records FOLDER` does the same work over and over,
each time in a folder of its own and in a process that dies by SIGKILL one step later:
`kill -9` hits between two calls to the system, or in the middle of a write.
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

#: Every call of `os` that the two write paths make, and more than they make today.
STEPS = (
    *("open", "write", "close", "fsync", "mkdir", "rmdir", "unlink", "remove", "symlink", "link"),
    *("rename", "replace", "chmod", "fdatasync", "truncate", "ftruncate", "pwrite", "scandir"),
)

OLD = DeadlineRecord("a", 1000.0, "TTL=1h", 4600.0)
NEW = DeadlineRecord("a", 1000.0, "TTL=1h", 4600.0, extended_to=9999.5)


def plan(number: int) -> Plan:
    """
    Return a plan that differs from every other number's in length and bytes.
    """
    return Plan(tuple(Endpoint("10.0.0.1", 8000 + n) for n in range(number)), Mode.SERVE)


def renderer(folder: Path) -> Renderer:
    """
    Return what renders those plans for a folder.
    """
    settings = read({"ENDPOINTS": "10.0.0.1:1"}, lambda _: False)
    frame = RenderContext(settings, (1, 22, 1), str(folder), 1, 1024, 512, ("127.0.0.1:1",))
    return Renderer(frame, read_templates())


def configs(folder: Path) -> ConfigStore:
    """
    Return the write path of configurations.
    """
    return ConfigStore(folder, renderer(folder), lambda: {"conf.d/mine.conf": b"# mine\n" * 50})


def bundles(folder: Path) -> list[RenderedConfig]:
    """
    Return the three configurations that a killed process may have left live, each whole.
    """
    operator = {"conf.d/mine.conf": b"# mine\n" * 50}
    found = renderer(folder)
    return [found.bundle(plan(number), number, 0, operator) for number in (1, 2, 3)]


def before_configs(folder: Path) -> ConfigStore:
    """
    Make the first configuration live and good.
    """
    found = configs(folder)
    found.stage(1, plan(1), 0)
    found.swap(1)
    found.keep(1)
    return found


def change_configs(found: ConfigStore) -> None:
    """
    One change that works, and one that is taken back.
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
    Put the old record there.
    """
    save_record(folder, OLD)
    return folder


def at_each_step(
    folder: Path, prepare: Callable[[Path], Any], act: Callable[[Any], None]
) -> Iterator[tuple[Path, bool]]:
    """
    Yield the folder that each death left behind, and whether the work was finished at last.
    """
    for last in itertools.count(1):
        place = folder / f"{last:03}"
        place.mkdir()
        prepared = prepare(place)
        child = os.fork()
        if child == 0:
            with killed_at(last):
                act(prepared)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        yield place, status == 0
        if status == 0:
            return


@contextmanager
def killed_at(last: int) -> Iterator[None]:
    """
    Die in the place of this call to the system; a write is torn in the middle first.
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
    Leave one folder for each step behind.
    """
    if what == "configs":
        for _ in at_each_step(folder, before_configs, change_configs):
            pass
    else:
        for _ in at_each_step(folder, before_record, lambda place: save_record(place, NEW)):
            pass


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
