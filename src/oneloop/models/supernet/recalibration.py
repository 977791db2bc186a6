"""Statistics of batch norms for one architecture: a supernet's own are a mixture of all it was trained at.

Accuracy measured with statistics of other architectures says nothing of the network cut out, so that
`accuracy` refuses it unless told.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from oneloop.models.supernet.elastic import Architecture, at
from oneloop.models.supernet.elastic_norm import ElasticBatchNorm2d


def recalibrate(model: nn.Module, architecture: Architecture, batches: Iterable[Tensor]) -> None:
    """Recompute the running statistics of batch norms at `architecture`: plain means over `batches`.

    What they were is forgotten. Statistics of channels that the architecture leaves out become 0 and 1.
    Raises ValueError for no batches.
    """
    given = list(batches)
    if not given:
        raise ValueError("recalibrate: got no batches, must be some of the training data")
    with at(model, architecture):
        update_bn(given, model)
    for norm in _norms(model):
        norm.calibrated_for = dict(architecture)


@torch.no_grad()
def accuracy(
    model: nn.Module,
    architecture: Architecture,
    batches: Iterable[tuple[Tensor, Tensor]],
    allow_other_statistics: bool = False,
) -> float:
    """Share of right answers of `model` at `architecture` over `batches` of (inputs, labels [B]).

    Raises ValueError where its batch norms were not recalibrated for this architecture, unless
    `allow_other_statistics`, and for no batches.
    """
    if not allow_other_statistics and any(
        norm.track_running_stats and norm.calibrated_for != dict(architecture) for norm in _norms(model)
    ):
        raise ValueError(
            f"the statistics of batch norms are not those of {dict(architecture)}: call `recalibrate` first, "
            "or say allow_other_statistics=True"
        )
    right = count = 0
    training = model.training
    model.eval()
    with at(model, architecture):
        for inputs, labels in batches:
            right += int((model(inputs).argmax(-1) == labels).sum())
            count += len(labels)
    model.train(training)
    if not count:
        raise ValueError("accuracy: got no batches")
    return right / count


def _norms(model: nn.Module) -> list[ElasticBatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, ElasticBatchNorm2d)]
