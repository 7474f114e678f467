"""
Everything about nginx: configuration, processes, workers, internal socket.
"""
