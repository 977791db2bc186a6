"""What a learning rate that suits one batch size becomes for another.

    sqrt     rate * sqrt(B / B0)    keeps the noise of an update: for Adam; BroRL's rule (arXiv 2510.01180)
    linear   rate * (B / B0)        keeps the path of many small steps: for plain gradient descent

B counts the rollouts of one optimiser step. A batch 8 times as wide, in as many mini-batches, has 2.83 times
the rate.
"""

from typing import Literal

Scaling = Literal["sqrt", "linear"]


def scale_learning_rate(
    learning_rate: float, base_batch: int, batch: int, scaling: Scaling = "sqrt"
) -> float:
    """`learning_rate`, chosen for `base_batch` rollouts an optimiser step, for `batch` of them.

    Raises ValueError when one of the batches is below 1.
    """
    if base_batch < 1 or batch < 1:
        raise ValueError(f"a batch has at least 1 rollout, got base_batch={base_batch} and batch={batch}")
    ratio = batch / base_batch
    return learning_rate * (ratio if scaling == "linear" else ratio**0.5)
