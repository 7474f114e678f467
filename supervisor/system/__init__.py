"""
Access to the operating system: processes, signals, control groups, log, files.
"""
