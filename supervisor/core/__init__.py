"""
Pure code: no clock, no file, no thread, no network; time is an argument.
"""
