"""
The operator's own files: `conf.d/*.conf` at http level and `server.d/*.conf` at server level.

They are copied into each generation, so that what was tested is what runs, and a broken edit never
takes the last good version away.
"""

from pathlib import Path

_PLACES = ("conf.d", "server.d")
_LARGEST = 4 * 1024 * 1024

#: What only the file that comes with the official image says; it would take port 80.
_STOCK = (b"/usr/share/nginx/html", b"server_name  localhost;")


def read_operator_files(folder: Path) -> dict[str, bytes]:
    """
    Read the operator's files, by their path below `folder`; a missing folder holds none.

    Raises OSError when a file is there but cannot be read, or is absurdly large.
    """
    found = {}
    for place in _PLACES:
        for path in sorted((folder / place).glob("*.conf")):
            content = path.read_bytes()
            if len(content) > _LARGEST:
                raise OSError(f"{path} has {len(content)} bytes")
            if path.name == "default.conf" and all(mark in content for mark in _STOCK):
                continue
            found[f"{place}/{path.name}"] = content
    return found
