"""
Builds the single-file `exec`, for any command on Python 3.9 or newer: `make onefile`.

It is an executable zip archive.  The same sources give the same bytes, so that a checksum in a job
file stays valid: fixed dates, sorted names, no compression, which also saves importing zlib at
startup.  Python compiles the sources at each start: comments and docstrings are left out, and the
numbers of the lines stay.
"""

import ast
import hashlib
import io
import sys
import tokenize
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "dist" / "autoexit.pyz"

#: All that `cli/exec` imports of this package; the linter holds them to the standard library.
MODULES = (
    "__init__",
    "cli/__init__",
    "core/__init__",
    "core/deadline_record",
    "core/drain_ladder",
    "core/durations",
    "core/errors",
    "core/job_deadline",
    "core/signal_sets",
    "system/__init__",
    "system/clock",
    "system/time_limit",
    "system/regular_file",
    "system/standard_streams",
    "system/state_file",
)

_SHEBANG = b"#!/usr/bin/env python3\n"


def contents() -> dict[str, bytes]:
    """Return every file of the archive by its name in the archive."""
    package = ROOT / "supervisor"
    sources = [package / f"{name}.py" for name in MODULES]
    sources += [
        path for path in (package / "cli" / "exec").glob("*.py") if path.name != "__main__.py"
    ]
    files = {str(path.relative_to(ROOT)): stripped(path.read_text()) for path in sources}
    files["__main__.py"] = stripped((package / "cli" / "exec" / "__main__.py").read_text())
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return dict(sorted(files.items()))


def stripped(source: str) -> bytes:
    """Return a module without comments and docstrings; every statement stays on its line."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if ast.get_docstring(node, clean=False) is None or not isinstance(first, ast.Expr):
            continue
        end = first.end_lineno or first.lineno
        lines[first.lineno - 1] = f'{" " * first.col_offset}""'
        lines[first.lineno : end] = [""] * (end - first.lineno)
    return "\n".join([*lines, ""]).encode()


def make(target: Path) -> Path:
    """Write the archive and make it executable."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, content in contents().items():
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o100644 << 16
                entry.create_system = 3
                archive.writestr(entry, content)
    target.chmod(0o755)
    return target


def main(arguments: list[str]) -> int:
    """Write it to dist/, or to the path in the only argument."""
    target = make(Path(arguments[0]) if arguments else TARGET)
    content = target.read_bytes()
    print(f"{target}  {len(content)} bytes  sha256:{hashlib.sha256(content).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
