"""
The golden mix: replicas that come and go in every way, clients of every kind, and what was lost.

The same replicas stand behind the program under test and behind an nginx configured by hand, at
the same time.  Every failure is told with who failed, where and when; what a killed replica took
with it is known from its own memory, so that nothing else can hide behind it.
"""
