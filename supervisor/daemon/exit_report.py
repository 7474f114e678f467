"""
The report at the end of a run: `ended.json`, the last log line and the exit code.
"""

import os
import threading
import time
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.core.commands import Exit
from supervisor.core.config.settings import Settings
from supervisor.core.durations import format_instant
from supervisor.core.errors import ExitCode
from supervisor.daemon.file_writer import FileWriter
from supervisor.system.log import Log
from supervisor.system.state_file import save_ended
from supervisor.system.time_limit import run_within

if TYPE_CHECKING:
    from supervisor.nginx.access_log import AccessLog

#: How long the exit may wait for the last file and the last log lines, in seconds.
_FILE_TIMEOUT = 0.3
_LOG_TIMEOUT = 0.3


def crash(log: Log, error: threading.ExceptHookArgs) -> None:
    """Exit when a thread fails: the program must not continue without it."""
    lines = traceback.format_exception(error.exc_type, error.exc_value, error.exc_traceback)
    name = error.thread.name if error.thread else "unknown"
    log.emit("internal_error", "error", thread=name, traceback="".join(lines))
    log.finish(_LOG_TIMEOUT)
    os._exit(ExitCode.SOFTWARE)


def print_reason(last: Exit) -> None:
    """Write why the run failed to stderr as well, in one line; nothing if it did not."""
    if last.code == ExitCode.OK:
        return
    texts = (last.reason, str(last.fields.get("message") or ""))
    text = ": ".join(filter(None, texts))
    text = "; ".join(filter(None, (text, str(last.fields.get("hint") or ""))))
    text = text if text.startswith("cannot") else f"cannot serve: {text}"
    line = "".join(each if each.isprintable() else " " for each in text)
    data = f"{line}; giving up\n".encode(errors="replace")
    with suppress(OSError):  # a reader that hangs must not delay the exit
        run_within(_LOG_TIMEOUT, partial(os.write, 2, data), heed_stop=False)


def report(
    settings: Settings,
    last: Exit,
    log: Log,
    writer: FileWriter | None = None,
    access_log: "AccessLog | None" = None,
    *,
    saves: bool = True,
) -> int:
    """
    Write `ended.json` and the last log line, and return the exit code.

    With `saves` false the file is not written: STATE_DIR is another supervisor's.
    """
    fields = dict(last.fields)
    dropped = log.dropped or None
    ended = {"reason": last.reason, "code": last.code, "at": format_instant(time.time()), **fields}
    ended["log_lines_dropped"] = log.dropped
    if writer is None and saves:
        with suppress(TimeoutError):  # such a disk must not delay the exit
            write = partial(save_ended, Path(settings.state_dir), ended)
            run_within(_FILE_TIMEOUT, write, heed_stop=False)
    elif writer is not None:
        writer.finish(ended, _FILE_TIMEOUT)
    if access_log is not None:
        access_log.finish(_LOG_TIMEOUT)
    level = "info" if last.code == ExitCode.OK else "error"
    log.emit(
        "ended", level, reason=last.reason, code=int(last.code), log_lines_dropped=dropped, **fields
    )
    log.finish(_LOG_TIMEOUT)
    return int(last.code)
