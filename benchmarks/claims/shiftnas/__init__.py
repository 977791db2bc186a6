"""ShiftNAS on digits: how architectures are drawn, at equal charged compute (arXiv 2307.08300).

A residual MLP with eight blocks of elastic hidden width, twelve bins of cost. Arms draw each operation
uniformly (single-path one-shot search), a bin uniformly and then exactly within it, or a bin by learning
progress (`rate`, and the paper's rule `shift`, its own rate not tuned). `sandwich` trains the largest, the
smallest and two drawn networks with in-place distillation. Training stops when its budget of multiply-adds
is spent, looks at validation included, so that arms that draw dear networks take fewer steps. Errors are
means of eight networks of a bin. `shiftnas_short` and `shiftnas_long` are the same at other budgets; ways to
draw are compared here.
"""

from benchmarks.claims.claim import Advance, Rows
from benchmarks.claims.shiftnas.claims import claim
from benchmarks.claims.shiftnas.sampler import samplers


def run(seed: int, advance: Advance) -> Rows:
    """Ways to draw an architecture."""
    rows = samplers(seed)
    advance(f"seed {seed}: samplers")
    return rows


CLAIM = claim(
    1.5e7,
    run=run,
    units=1,
)
