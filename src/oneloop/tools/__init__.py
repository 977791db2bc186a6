"""What judges stand on: killable worker processes, verdicts, and the reward signatures of others."""
