"""
What `exec` is told: a command on the command line, the rest in the environment.

Only the settings that concern a deadline are read.  The environment is the command's own: a
LOG_LEVEL in it is none of ours, and not to be complained of.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from supervisor.core import durations
from supervisor.core.deadline_record import DeadlineSettings, apply_duration_alias
from supervisor.core.errors import ExitCode, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEFAULTS = {"TTL": "24h", "STOP_TIMEOUT": "4s", "DRAIN_TIMEOUT": "30s"}
_READERS = {
    "TTL": durations.parse_ttl,
    "DEADLINE": durations.parse_instant,
    "STOP_TIMEOUT": durations.parse_span,
    "DRAIN_TIMEOUT": durations.parse_span,
}


class Options(NamedTuple):
    """
    The deadline that is wished for, how long an end may take, and where the record is kept.

    Without a folder every start counts anew.
    """

    wish: DeadlineSettings
    stop_timeout: float
    drain_timeout: float
    state_dir: str


def command_in(words: Sequence[str]) -> list[str]:
    """
    Return the command of `[--] COMMAND ...`.  Raises Problem with code 64 where there is none.
    """
    if words and words[0].startswith("-") and words[0] != "--":
        raise Problem(
            ExitCode.USAGE,
            f"cannot read the command line: unknown option {words[0]!r}; see exec --help",
        )
    command = list(words[1:] if words and words[0] == "--" else words)
    if not command:
        raise Problem(
            ExitCode.USAGE, "cannot read the command line: no command to run; see exec --help"
        )
    return command


def read(environ: Mapping[str, str]) -> Options:
    """
    Read the settings.  Raises Problem with code 78 and a line for every mistake.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    mistakes, values = apply_duration_alias(given), {}
    for name, reader in _READERS.items():
        text = given.get(name) or _DEFAULTS.get(name)
        try:
            values[name] = None if text is None else reader(text)
        except ValueError as error:
            mistakes.append(f"{name}={text!r}: {error}")
    if mistakes:
        raise Problem(ExitCode.CONFIG, *mistakes)
    return Options(
        DeadlineSettings(values["TTL"], values["DEADLINE"], given.get("NOMAD_ALLOC_ID", "")),
        values["STOP_TIMEOUT"] or 0.0,
        values["DRAIN_TIMEOUT"] or 0.0,
        _state_dir(given),
    )


def _state_dir(given: Mapping[str, str]) -> str:
    """
    Find where the record belongs: as the supervisor does, but for one place.

    /var/lib is only used where it is a container's own.  Elsewhere two commands would share one
    record there, and the second would end with the first one's deadline.
    """
    if "STATE_DIR" in given:
        return given["STATE_DIR"]
    if "NOMAD_ALLOC_DIR" in given:
        task = given.get("NOMAD_TASK_NAME", "task")
        return f"{given['NOMAD_ALLOC_DIR']}/data/autoexit-nginx/{task}"
    return "/var/lib/autoexit-nginx" if os.getpid() == 1 else ""
