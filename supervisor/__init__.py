"""
Serve the replicas of a service behind one nginx for a limited time, then shut down cleanly.

The package is the PID 1 of an nginx container.  `docs/architecture.md` describes its packages;
start reading at `core/policy/decide.py`, which defines the behaviour of the program.
"""

__version__ = "0.1.0"
