"""
The names of the unix sockets in RUNTIME_DIR that nginx listens on.

A master that exits removes the paths of its unix sockets, even if another master has created them
again: the nginx of a killed run would remove those of the next run.  So no name is used twice: each
has a random part per run, and the number of the attempt or of the listener.

Pure.
"""

import string

#: One that reports the generation for each attempt, and one for requests from workers of earlier
#: generations.  Shorter than 22 bytes: see `runtime_dir`.
_GENERATION = "gen-{}-{}.sock"
_CURRENT = "cur-{}-{}.sock"

#: The link to the latter: earlier generations connect to it, whichever socket is in use.
CURRENT_LINK = "current.sock"

#: Patterns of the names of all runs.
PATTERNS = tuple(name.format("*", "*") for name in (_GENERATION, _CURRENT))

#: Digits of the numbers and of the random part, because the path of a socket is short.
DIGITS = string.digits + string.ascii_lowercase


def generation_socket(run: str, attempt: int) -> str:
    """
    Return the name of the socket on which an attempt's configuration reports its generation.
    """
    return _GENERATION.format(run, _base36(attempt))


def current_socket(run: str, number: int) -> str:
    """
    Return the name of a socket that receives requests from workers of earlier generations.
    """
    return _CURRENT.format(run, _base36(number))


def _base36(number: int) -> str:
    rest, digit = divmod(number, len(DIGITS))
    return (_base36(rest) if rest else "") + DIGITS[digit]
