"""
How messages to people name the states of the program.

The names of the states themselves are for programs: the fields of log lines, `/status`, metrics.
"""

#: By `Mode`: what the public port does.
_MODES = {
    "serve": "serving",
    "starting": "starting",
    "no_endpoints": "no endpoints",
    "unhealthy": "no endpoint is ready",
    "draining": "shutting down",
}

#: By `Phase`, except for the one in which the mode is of interest.
_PHASES = {
    "asking": "shutting down: Nomad stops the job",
    "draining": "shutting down",
    "terminating": "shutting down",
    "killing": "shutting down",
    "ended": "ended",
}

#: By `MasterState`.
_MASTERS = {"down": "not running", "booting": "starting", "up": "running"}

#: By `Disk`.
_DISKS = {"config": "the disk of the configuration", "state": "the disk of STATE_DIR"}


def mode(name: str) -> str:
    """
    Return the words for a mode; an unknown name is returned as it is.
    """
    return _MODES.get(name, name)


def service(phase: str, mode_name: str) -> str:
    """
    Return the words for what the service does in this phase and mode.
    """
    return _PHASES.get(phase) or mode(mode_name)


def master(name: str) -> str:
    """
    Return the words for the state of nginx's master process.
    """
    return _MASTERS.get(name, name)


def disk(name: str) -> str:
    """
    Return the words for a disk.
    """
    return _DISKS.get(name, name)
