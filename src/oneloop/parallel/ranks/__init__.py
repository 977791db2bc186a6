"""A learner on many ranks: processes that hold shares of one run and stay the same run."""
