"""
Put the replicas of a service behind one nginx for a limited time, and end cleanly.

The package is the PID 1 of an nginx container.  `docs/architecture.md` draws its floors;
`policy` is the page to read first: it holds the behaviour of the program.
"""

__version__ = "0.1.0"
