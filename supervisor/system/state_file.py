"""
Files that persist across restarts: the deadline record, and the reason of the last exit.

Only the deadline record is synced to disk, for a restart after a power failure.  This module also
ships to the images of replicas: standard library only, Python 3.9.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from supervisor.core.deadline_record import DeadlineRecord
from supervisor.system.regular_file import read_regular

if TYPE_CHECKING:
    from pathlib import Path  # not at run time: it imports urllib and ipaddress

RECORD = "state.json"
ENDED = "ended.json"

#: The end of the year 9999 in epoch seconds; a later time means a damaged file.
_MAX_INSTANT = 253402300800.0
_MAX_BYTES = 65536


def read_record(folder: Path | str) -> tuple[DeadlineRecord | None, str]:
    """
    Return the record of an earlier start, or None and the error; without a file the error is empty.
    """
    path = os.path.join(folder, RECORD)
    try:
        found = json.loads(read_regular(path, _MAX_BYTES))
        record = DeadlineRecord(
            allocation=_text(found["allocation"]),
            first_start=_instant(found["first_start"]),
            origin=_text(found["origin"]),
            deadline=None if found["deadline"] is None else _instant(found["deadline"]),
            extended_to=None
            if found.get("extended_to") is None
            else _instant(found["extended_to"]),
            moved_by=_text(found.get("moved_by", "")),
            variable=_count(found.get("variable", 0)),
        )
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"cannot use {path}: {error.strerror}; counting from now"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return None, f"cannot use {path}: {type(error).__name__}: {error}; counting from now"
    return record, ""


def save_record(folder: Path | str, record: DeadlineRecord) -> None:
    """
    Write the record to disk atomically.  Raises OSError.
    """
    content = {
        "allocation": record.allocation,
        "first_start": record.first_start,
        "origin": record.origin,
        "deadline": record.deadline,
        "extended_to": record.extended_to,
        "moved_by": record.moved_by,
        "variable": record.variable,
    }
    os.makedirs(folder, 0o700, exist_ok=True)
    replace_json(folder, RECORD, content, durable=True)


def save_ended(folder: Path | str, content: dict[str, object]) -> None:
    """
    Write the reason of the exit; errors are ignored, as an unwritable folder was logged before.
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
    Write a file atomically; `durable` also syncs it to disk.  Raises OSError.
    """
    temporary = os.path.join(folder, f".{name}-new")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        remaining = json.dumps(content, default=str).encode() + b"\n"
        while remaining:  # a disk that fills up accepts a part first
            remaining = remaining[os.write(descriptor, remaining) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, os.path.join(folder, name))
    if durable:
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _instant(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a time")
    if not 0 <= value < _MAX_INSTANT:
        raise ValueError(f"{value!r} is not a time")
    return float(value)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is not a number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value
