"""
The running process: start, event loop and file writer.
"""
