"""A learner on many ranks: processes that divide one run, which gives what one process would give."""
