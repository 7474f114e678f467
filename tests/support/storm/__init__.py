"""
Random faults under verified traffic, and the cause of every lost request.
"""
