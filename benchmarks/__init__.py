"""Timings and claims: what is measured, against whom, and what came out (results/)."""
