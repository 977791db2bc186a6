"""Individually fair decisions where an outcome is seen only of those accepted (arXiv 2206.04475).

    T rounds   k individuals a round   d features, in [0, 1]   N rules   m auditors

A library of its own: arrays in, arrays out; it knows nothing of rollouts or stages.
"""
