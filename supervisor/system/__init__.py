"""
The operating system: processes, signals, control groups, log, files.
"""
