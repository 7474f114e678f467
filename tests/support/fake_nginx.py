"""
An executable that plays nginx, for the faults a real one shows once a year.

The supervisor gives nginx an empty environment, so what it shall do stands in a file
beside it and is read at every invocation: a test can change its mind in between.
"""

import json
import re
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

REAL = "/usr/sbin/nginx"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """
    What the fake does at its next invocation.

    `check` is for -t, `version` for -v and -V ("" asks the real one).  `run` "real"
    becomes the real nginx, "play" serves the generation itself, with `workers` processes
    titled as nginx's.  While `answers` is false it accepts and never says a word; while
    `reloads` is false SIGHUP changes nothing; while `obeys_stop` is false stop signals do not
    either.  It ends `after` seconds past being `when`, by `code` or by `signal`.
    """

    check: Literal["real", "pass", "fail", "hang"] = "real"
    version: str = ""
    run: Literal["real", "fake"] = "real"
    workers: int = 1
    answers: bool = True
    reloads: bool = True
    obeys_stop: bool = True
    when: Literal["started", "answered", "never"] = "never"
    after: float = 0.0
    code: int = 0
    signal: int = 0
    complaint: str = "nginx: [emerg] the fake was told to fail"


@dataclass(frozen=True, slots=True)
class Invocation:
    """
    What the program was given when it was run, as the kernel had it.
    """

    pid: int
    words: tuple[str, ...]
    environ: dict[str, str]
    descriptors: dict[int, str]
    blocked: int
    ignored: int


class FakeNginx:
    """
    A folder with the executable, its orders, and what it noted about being run.
    """

    def __init__(self, folder: Path, real: str = REAL, **behaviour: object) -> None:
        self._folder = folder / "fake-nginx"
        (self._folder / "invocations").mkdir(parents=True)
        self.path = self._folder / "nginx"
        player = Path(__file__).with_name("fake_nginx_program.py")
        self.path.write_text(
            PREAMBLE.format(
                invocations=self._folder / "invocations",
                python=sys.executable,
                player=player,
                folder=self._folder,
                real=real,
            )
        )
        self.path.chmod(0o755)
        self.behaviour = Behaviour()
        self.set(**behaviour)

    def __str__(self) -> str:
        return str(self.path)

    def set(self, **changes: object) -> None:
        """
        Change what it does from its next invocation (or its next signal) on.
        """
        self.behaviour = replace(self.behaviour, **changes)  # type: ignore[arg-type]
        with tempfile.NamedTemporaryFile("w", dir=self._folder, delete=False) as file:
            json.dump(asdict(self.behaviour), file)
        Path(file.name).rename(self._folder / "behaviour.json")

    @property
    def runs(self) -> list[Invocation]:
        """
        How it was run as a server, in order; not how it was asked for -t or -v.
        """
        return [birth for birth in self._all() if not {"-t", "-v", "-V", "-T"} & {*birth.words}]

    @property
    def checks(self) -> list[Invocation]:
        """
        How it was run for -t, in order.
        """
        return [birth for birth in self._all() if "-t" in birth.words]

    def _all(self) -> list[Invocation]:
        notes = [
            path for path in (self._folder / "invocations").iterdir() if path.suffix == ".done"
        ]
        return [
            _invocation(path) for path in sorted(notes, key=lambda path: path.stat().st_mtime_ns)
        ]


PREAMBLE = """\
#!/bin/sh
# A shell, not Python, notes what it was given: Python changes signals before any line runs.
note={invocations}/$$
(
  cat /proc/$$/status
  echo ==words; tr '\\0' '\\n' < /proc/$$/cmdline
  echo ==environ; tr '\\0' '\\n' < /proc/$$/environ
  echo ==descriptors; cd /proc/$$/fd && for fd in *; do echo "$fd $(readlink $fd)"; done
) > $note 2>/dev/null
mv $note $note.$(date +%s%N).done
exec {python} -I -S {player} {folder} {real} "$@"
"""


def _invocation(path: Path) -> Invocation:
    status, words, environ, descriptors = re.split(
        r"==(?:words|environ|descriptors)\n", path.read_text()
    )
    masks = {
        name: int(mask, 16)
        for name, mask in re.findall(r"(Sig\w+):\s*(\w+)", status)
        if name != "SigQ"
    }
    links = dict(line.split(" ", 1) for line in descriptors.splitlines() if " " in line)
    return Invocation(
        pid=int(path.name.split(".")[0]),
        words=tuple(words.splitlines()[2:]),
        environ=dict(line.split("=", 1) for line in environ.splitlines() if "=" in line),
        descriptors={
            int(fd): link
            for fd, link in links.items()
            if link and not link.endswith("/fake-nginx/nginx")  # the shell reads its script
        },
        blocked=masks["SigBlk"],
        ignored=masks["SigIgn"],
    )
