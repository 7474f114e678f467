"""
nginx: its configuration, processes, workers and internal socket.
"""
