"""A run that survives a kill at any instant: journal, checkpoints, metrics, evaluation, comparison."""
