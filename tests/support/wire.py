"""
The minimal HTTP/1.1 of the test servers.

Handwritten so that a server can also break the rules: a library would refuse to send a wrong
length, half a header or an empty response.
"""

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """
    One request as received; header names are case-insensitive.
    """

    method: str
    target: str
    headers: Message
    body: bytes
    via: str
    at: float

    @property
    def path(self) -> str:
        """
        The decoded path.
        """
        return unquote(urlsplit("http://x" + self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """
        The query; of a repeated name the last value counts.
        """
        return dict(parse_qsl(urlsplit("http://x" + self.target).query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Reply:
    """
    One response; Content-Length is added unless the headers define its end.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self) -> bytes:
        """
        Return the status line and headers, including the empty line.
        """
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        headers = dict(self.headers)
        if not {"transfer-encoding", "content-length"} & {name.lower() for name in headers}:
            headers["Content-Length"] = str(len(self.body))
        lines = [f"HTTP/1.1 {self.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def encode(self) -> bytes:
        """
        Return the complete response, to be sent with one call.
        """
        return self.head() + self.body

    @property
    def keeps_alive(self) -> bool:
        """
        Whether the connection can be reused after this response.
        """
        return self.headers.get("Connection", "").lower() != "close"


def read_request(stream: BinaryIO, via: str = "tcp") -> Request | None:
    """
    Read one request, or return None at the end of the stream or for an invalid request line.
    """
    words = stream.readline(65537).decode("latin-1").split()
    if len(words) != 3:
        return None
    headers = http.client.parse_headers(stream)
    body = stream.read(int(headers.get("Content-Length") or 0))
    return Request(words[0], words[1], headers, body, via, time.monotonic())
