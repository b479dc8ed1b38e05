"""A campaign of random faults against a real certferry and six real mail containers: what is promised is watched all the time.

The seed decides the faults and their order; their exact moments it cannot decide.
"""
