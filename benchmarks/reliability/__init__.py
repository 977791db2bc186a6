"""Runs stopped, killed, damaged, started twice and given nonsense, many times over, to find faults.

Every script takes `--tries N --seed S`, prints a table and writes benchmarks/results/reliability_*.json.

    python -m benchmarks.reliability.kills            SIGKILL at random moments, then --resume
    python -m benchmarks.reliability.signals          SIGTERM and SIGINT at random moments, then --resume
    python -m benchmarks.reliability.corruption       damaged files of a run directory, then --resume
    python -m benchmarks.reliability.two_processes    two processes on one directory
    python -m benchmarks.reliability.recipes          mutated recipes: loaded; some accepted ones run
"""
