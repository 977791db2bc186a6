"""Which action earned the reward: parts that write `actions.advantage`."""
