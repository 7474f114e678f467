"""
Settings: the table, its parsers, and what Nomad sets in the environment.
"""
