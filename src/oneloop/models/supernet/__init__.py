"""ShiftNAS (arXiv 2307.08300): one network with shared weights, trained once, cut to any cost.

`elastic` says what an architecture is and how a network is told the present one; `cutting` makes a plain
network of it, without search and without training. Layers are elastic: `ElasticLinear`, `ElasticEmbedding`,
`ElasticConv2d`, `ElasticSelfAttention`, `ElasticDepth`, `ElasticResidual`, norms.
`search_space` counts architectures by cost and draws among those of a cost.
"""

from oneloop.models.supernet.choice import Bin, Choice, Product
from oneloop.models.supernet.cutting import Cutter, cut
from oneloop.models.supernet.elastic import ALL, Architecture, Elastic, Kept, at, keep, largest, mask
from oneloop.models.supernet.elastic_attention import ElasticSelfAttention, SelfAttention
from oneloop.models.supernet.elastic_conv2d import ElasticConv2d
from oneloop.models.supernet.elastic_depth import ElasticDepth, ElasticResidual
from oneloop.models.supernet.elastic_linear import ElasticEmbedding, ElasticLinear
from oneloop.models.supernet.elastic_norm import ElasticBatchNorm2d, ElasticLayerNorm, ElasticRMSNorm
from oneloop.models.supernet.search_space import SearchSpace

__all__ = [
    "ALL",
    "Architecture",
    "Bin",
    "Choice",
    "Cutter",
    "Elastic",
    "ElasticBatchNorm2d",
    "ElasticConv2d",
    "ElasticDepth",
    "ElasticEmbedding",
    "ElasticLayerNorm",
    "ElasticLinear",
    "ElasticRMSNorm",
    "ElasticResidual",
    "ElasticSelfAttention",
    "Kept",
    "Product",
    "SearchSpace",
    "SelfAttention",
    "at",
    "cut",
    "keep",
    "largest",
    "mask",
]
