"""
The golden mix: replicas that come and go in every way, clients of every kind, and the failures.

The program under test and an nginx configured by hand use the same replicas at the same time.
Every failure is reported with client, replica and time.  The requests that a killed replica was
executing are known from its shared memory, so that no other failure is attributed to it.
"""
