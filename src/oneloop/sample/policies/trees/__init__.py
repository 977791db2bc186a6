"""Trees: rollouts that share their first steps, of tokens and of denoising."""
