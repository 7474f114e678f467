"""
Commands of the `autoexit-nginx` program, one module each.
"""
