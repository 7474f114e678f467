"""
Nomad's HTTP API, as much of it as is asked: a service's instances, an allocation's checks, and the
stop of a job.

Built on python-nomad's `Requester`, which knows neither of the first two, no unix socket, no server
name for TLS and no total deadline.  Whatever goes wrong becomes one exception, whose reason
is safe to log: no header, no token, no body.  Nothing here remembers an answer or waits between two
questions: that is for those who ask.
"""

from supervisor.client.trouble import Unanswered

__all__ = ["Unanswered"]
