"""
What to do about clients whose protocol nginx refuses.

Such a client reports at best that the response is no HTTP/2: only the log can give the reason.
"""

from supervisor.core.commands import Note, note
from supervisor.core.events import Protocol

#: The event id, the reason and what to do.
_LINES = {
    Protocol.HTTP2: (
        "clients.http2",
        "a client sent HTTP/2 without TLS, as gRPC clients do, and nginx refused it",
        "clients and proxies must use HTTP/1.1; this version does not serve gRPC; logged once",
    ),
    Protocol.TLS: (
        "clients.tls",
        "a client sent TLS to a port that is plain HTTP, and nginx refused it",
        "use http:// for this port, or a proxy before it that terminates TLS; logged once",
    ),
}


def report(protocol: Protocol, client: str) -> Note:
    """
    Return the log line about a refused client.
    """
    event, reason, hint = _LINES[protocol]
    return note(event, "warning", client=client, reason=reason, hint=hint)
