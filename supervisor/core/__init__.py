"""
Pure code without clock, files, threads or network; time is an argument.
"""
