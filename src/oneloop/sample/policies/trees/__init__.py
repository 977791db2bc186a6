"""Rollouts that share a beginning: who shares which step, of tokens and of denoising."""
