"""
What outlives the process: the record of the deadline, and why the last run ended.

Only the record is forced to the disk: it is what a restart after a power failure depends on.
Like `anchor`, this also ships to the images of replicas: standard library only, good for
Python 3.9.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from supervisor.core.deadline_record import DeadlineRecord

if TYPE_CHECKING:
    from pathlib import Path  # not for the start: it loads urllib and ipaddress

RECORD = "state.json"
ENDED = "ended.json"

#: A time beyond this is no time but a damaged file: the year 9999, in epoch seconds.
_LAST_INSTANT = 253402300800.0
_LONGEST = 65536


def read_record(folder: Path | str) -> tuple[DeadlineRecord | None, str]:
    """
    Read the record of an earlier start: it, or None and what is wrong with the file, if anything.
    """
    path = os.path.join(folder, RECORD)
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(_LONGEST))
        record = DeadlineRecord(
            allocation=_text(found["allocation"]),
            first_start=_instant(found["first_start"]),
            origin=_text(found["origin"]),
            deadline=None if found["deadline"] is None else _instant(found["deadline"]),
            extended_to=None
            if found.get("extended_to") is None
            else _instant(found["extended_to"]),
        )
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return None, f"cannot use {path}: {type(error).__name__}: {error}; counting from now"
    return record, ""


def save_record(folder: Path | str, record: DeadlineRecord) -> None:
    """
    Put the record on disk, whole or not at all.  Raises OSError.
    """
    content = {
        "allocation": record.allocation,
        "first_start": record.first_start,
        "origin": record.origin,
        "deadline": record.deadline,
        "extended_to": record.extended_to,
    }
    os.makedirs(folder, 0o700, exist_ok=True)
    replace_json(folder, RECORD, content, durable=True)


def save_ended(folder: Path | str, content: dict[str, object]) -> None:
    """
    Write why the program ended; an unwritable folder was complained of before.
    """
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        replace_json(folder, ENDED, content, durable=False)
    except OSError:
        return


def replace_json(
    folder: Path | str, name: str, content: dict[str, object], *, durable: bool
) -> None:
    """
    Write a file whole or not at all, and with `durable` onto the disk.  Raises OSError.
    """
    fresh = os.path.join(folder, f".{name}-new")
    with suppress(FileNotFoundError):
        os.unlink(fresh)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(fresh, flags, 0o600)
    try:
        rest = json.dumps(content, default=str).encode() + b"\n"
        while rest:  # a disk that becomes full takes a part, and refuses the next
            rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(fresh, os.path.join(folder, name))
    if durable:
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _instant(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no instant")
    if not 0 <= value < _LAST_INSTANT:
        raise ValueError(f"{value!r} is no instant")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
