"""How good a rollout was: each judge writes `reward.<name>` and `error.<name>`, NaN is "no verdict"."""
