"""Update the policy: the learner, which computes every denominator, and the objectives."""
