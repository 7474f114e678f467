"""
The body of a response: read within its limits, and parsed.

A list is parsed row by row while it arrives, and each row is reduced to what the caller needs of
it: a few megabytes of small values would otherwise take many times their size in memory.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from typing import TypeVar

import requests

from supervisor.nomad.errors import NomadError

T = TypeVar("T")

_CHUNK = 65536

#: The longest row, in bytes; Nomad's have a few hundred, and their tags.
_MAX_ROW = 65536

#: Nomad writes all fields of a row, and the IDs among them take more than this, in bytes.  So many
#: rows may be shorter.
_MIN_ROW = 128
_MAX_SHORT_ROWS = 4096

#: The most values of a body that is no list.
_MAX_VALUES = 32768

_BLANKS = re.compile(r"[ \t\n\r]*")
_NO_JSON = "the response is not valid JSON"


class _Expects(Enum):
    """
    What the next token of a list must be.
    """

    LIST = auto()
    ROW_OR_END = auto()
    ROW = auto()
    NOTHING = auto()


def chunks(response: requests.Response, max_bytes: int) -> Iterator[bytes]:
    """
    Yield a body as it arrives.  Raises NomadError, and what `requests` raises.
    """
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise NomadError("the response is compressed although the request did not accept that")
    size = 0
    try:
        for chunk in response.iter_content(_CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise NomadError(f"the response is longer than {max_bytes} bytes")
            yield chunk
    except requests.exceptions.ChunkedEncodingError:
        if "chunked" not in response.headers.get("Transfer-Encoding", ""):
            raise  # it is also the name for a connection that breaks in any body
        raise NomadError("the response ends early, or has an invalid chunk size") from None
    except (ValueError, OverflowError):  # urllib3 reads a chunk of any number of bytes, even of -1
        raise NomadError("the response has an invalid chunk size") from None


def parse_value(body: Iterable[bytes]) -> object:
    """
    Parse a body of any type.  Raises NomadError.
    """
    data = b"".join(body)
    if data.count(b",") + data.count(b"[") + data.count(b"{") > _MAX_VALUES:
        raise NomadError(f"the response contains more than {_MAX_VALUES} values")
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        raise NomadError(_NO_JSON) from None
    return value


def parse_rows(body: Iterable[bytes], reduce: Callable[[object], T]) -> list[T]:
    """
    Parse a list; `reduce` returns what to keep of a row.  Raises NomadError.
    """
    decode = codecs.getincrementaldecoder("utf-8")().decode
    rows: list[T] = []
    expects, rest, size = _Expects.LIST, "", 0
    try:
        for block in _blocks(body):
            size += len(block)
            text, position = rest + decode(block), 0
            while (start := _skip_blanks(text, position)) < len(text):
                position, expects, row = _next(text, start, expects)
                if position == start:
                    break  # the row is not complete
                rows += [reduce(each) for each in row]
                if len(rows) > _MAX_SHORT_ROWS + size // _MIN_ROW:
                    raise NomadError("the response has too many small values")
            rest = text[start:]
        decode(b"", final=True)
    except (ValueError, RecursionError):
        raise NomadError(_NO_JSON) from None
    if expects is not _Expects.NOTHING or rest:
        raise NomadError(_NO_JSON)
    return rows


_DECODER = json.JSONDecoder()


def _next(text: str, start: int, expects: _Expects) -> tuple[int, _Expects, tuple[object, ...]]:
    """
    Return where to continue, what is expected there, and the row in front of it, if any.

    Without a complete row it is `start`.  Raises ValueError and NomadError.
    """
    if expects is _Expects.NOTHING:
        raise ValueError(text[start])
    if expects is _Expects.LIST:
        if text[start] != "[":
            raise NomadError(
                "the response is not a list: NOMAD_ADDR may be the address of another server than"
                " Nomad's agent"
            )
        return start + 1, _Expects.ROW_OR_END, ()
    if expects is _Expects.ROW_OR_END and text[start] == "]":
        return start + 1, _Expects.NOTHING, ()
    try:
        row, end = _DECODER.raw_decode(text, start)
        end = _skip_blanks(text, end)
    except ValueError:
        end = len(text)
        row = None
    if end < len(text):
        if text[end] not in ",]":
            raise ValueError(text[end])
        follows = _Expects.ROW if text[end] == "," else _Expects.NOTHING
        return end + 1, follows, (row,)
    if end - start > _MAX_ROW:
        raise NomadError(
            f"a row of the response is longer than {_MAX_ROW} bytes, or not valid JSON"
        )
    return start, expects, ()


def _blocks(body: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a body in larger pieces: every piece parses an incomplete row again."""
    block = bytearray()
    for chunk in body:
        block += chunk
        if len(block) >= _CHUNK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _skip_blanks(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    assert found is not None
    return found.end()
