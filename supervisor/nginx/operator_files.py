"""
The operator's own files: `conf.d/*.conf` at http level and `server.d/*.conf` at server level.

They are copied into each generation: the tested copy is the one that runs, and a broken edit leaves
the last good copy in place.
"""

from pathlib import Path

from supervisor.system.regular_file import read_regular

_FOLDERS = ("conf.d", "server.d")
_MAX_BYTES = 4 * 1024 * 1024

#: Marks of the official image's default.conf.  It is skipped, because it would listen on port 80.
_IMAGE_DEFAULT = (b"/usr/share/nginx/html", b"server_name  localhost;")


def read_operator_files(folder: Path) -> dict[str, bytes]:
    """
    Return the operator's files by their path below `folder`; a missing folder counts as empty.

    Raises OSError when one is not a regular file or a link to one, or exceeds 4 MiB.
    """
    found = {}
    for name in _FOLDERS:
        for path in sorted((folder / name).glob("*.conf")):
            try:
                content = read_regular(path, _MAX_BYTES, follow=True)
            except OSError as error:
                raise OSError(f"{path}: {error.strerror}") from error
            if path.name == "default.conf" and all(mark in content for mark in _IMAGE_DEFAULT):
                continue
            found[f"{name}/{path.name}"] = content
    return found
