"""
`exec`: run any command as PID 1 until a deadline; standard library only, Python 3.9.
"""
