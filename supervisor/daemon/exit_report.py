"""
How a run is reported when it ends: `ended.json`, the last log line, the exit code.
"""

import os
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.core.commands import Exit
from supervisor.core.config.settings import Settings
from supervisor.core.durations import format_instant
from supervisor.core.errors import ExitCode
from supervisor.daemon.file_writer import FileWriter
from supervisor.system.log import Log
from supervisor.system.state_file import save_ended

if TYPE_CHECKING:
    from supervisor.nginx.access_log import AccessLog

#: How long the exit may wait for the last file and the last log lines, in seconds.
_FILES = 0.3
_LINES = 0.3


def crash(log: Log, error: threading.ExceptHookArgs) -> None:
    """End the program when a thread of ours dies: half of it left running would be worse."""
    lines = traceback.format_exception(error.exc_type, error.exc_value, error.exc_traceback)
    name = error.thread.name if error.thread else "unknown"
    log.emit("internal_error", "error", thread=name, traceback="".join(lines))
    log.finish(_LINES)
    os._exit(ExitCode.SOFTWARE)


def report(
    settings: Settings,
    last: Exit,
    log: Log,
    writer: FileWriter | None = None,
    access_log: "AccessLog | None" = None,
) -> int:
    """Say why it ended, where people and programs look, and return the code."""
    fields = dict(last.fields)
    lost = log.dropped or None
    ended = {"reason": last.reason, "code": last.code, "at": format_instant(time.time()), **fields}
    ended["log_lines_dropped"] = log.dropped
    if writer is None:
        save_ended(Path(settings.state_dir), ended)
    else:
        writer.finish(ended, _FILES)
    if access_log is not None:
        access_log.finish(_LINES)
    level = "info" if last.code == ExitCode.OK else "error"
    log.emit(
        "ended", level, reason=last.reason, code=int(last.code), log_lines_dropped=lost, **fields
    )
    log.finish(_LINES)
    return int(last.code)
