"""
The addresses of this machine.
"""

import socket

import psutil


def local_addresses() -> tuple[str, ...]:
    """
    Return the addresses of this machine, or of the container, as text and without zones.
    """
    try:
        found = psutil.net_if_addrs()
    except OSError:
        return ()  # what is told about us by Nomad's variables still counts
    families = {socket.AF_INET, socket.AF_INET6}
    every = (entry for entries in found.values() for entry in entries)
    return tuple(
        sorted({entry.address.partition("%")[0] for entry in every if entry.family in families})
    )
