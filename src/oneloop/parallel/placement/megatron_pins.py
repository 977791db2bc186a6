"""Where Megatron lays the parameters of a model out: columns, then rows."""

import fnmatch
import math
from collections.abc import Sequence

from torch import nn

from oneloop.parallel.placement.operations import Program

COLUMN = "*q_proj *k_proj *v_proj *query *key *value *query_key_value *qkv *qkv_proj *c_attn"
COLUMN += " *gate_proj *up_proj *gate_up_proj"
COLUMN += " *fc1 *c_fc *intermediate.dense *dense_h_to_4h *linear1 *w1 *w3 *wi *wi_0 *wi_1"
ROW = (
    "*o_proj *out_proj *c_proj *down_proj *fc2 *output.dense *dense_4h_to_h *attention.dense *linear2 *w2 *wo"
)
PACKED = "*c_attn *qkv_proj *gate_up_proj"
TABLES = "*embed_tokens *wte *word_embeddings *embed_in *lm_head *embed_out *shared"


def megatron_pins(traced: Program, sizes: Sequence[int], model: nn.Module) -> dict[str, str]:
    """Placements by parameter, and on meshes of several axes by input, told from the names of modules.

    The last mesh axis cuts the model, the others the batch.
    """
    shapes = {
        op.of: op.outputs[0].meta.shape
        for op in traced.operations
        if op.kind == "parameter" and op.outputs[0]
    }
    head = ["R"] * (len(sizes) - 1)
    pins = {}
    for name, shape in shapes.items():
        owner, _, leaf = name.rpartition(".")
        if (role := _role(name)) and len(shape) == 3:  # experts in one tensor: [experts, outputs, inputs]
            pins[name] = ",".join([*head, _cut(name, shape, 1 if role == "column" else 2, traced, sizes)])
            continue
        role = _role(owner)
        turned = type(model.get_submodule(owner)).__name__ == "Conv1D"  # its weight is [inputs, outputs]
        axis = None
        if role in ("column", "table") and len(shape) <= 2:
            axis = 1 if turned and leaf == "weight" else 0
        elif role == "row" and len(shape) == 2:
            axis = 0 if turned else 1
        pins[name] = ",".join([*head, "R" if axis is None else _cut(owner, shape, axis, traced, sizes)])
    if len(sizes) > 1:
        for op in traced.operations:
            if (
                op.kind == "input"
                and op.outputs[0]
                and op.outputs[0].meta.shape[0] % math.prod(sizes[:-1]) == 0
            ):
                pins[op.of] = ",".join([*["S0"] * (len(sizes) - 1), "R"])
    return pins


def _cut(name: str, shape: Sequence[int], axis: int, traced: Program, sizes: Sequence[int]) -> str:
    """The letter of a cut, on meshes of one axis within each part of a weight that packs several.

    R where the cut is not even.
    """
    parts = 1
    if len(sizes) == 1 and any(fnmatch.fnmatch(name, pattern) for pattern in PACKED.split()):
        parts = max((parts for size, parts in traced.step.packed if size == shape[axis]), default=1)
    if shape[axis] % (parts * sizes[-1]):
        return "R"
    return f"S{axis}" if parts == 1 else f"S{axis}/{parts}"


def _role(module: str) -> str:
    for role, patterns in (("row", ROW), ("column", COLUMN), ("table", TABLES)):
        if any(fnmatch.fnmatch(module, pattern) for pattern in patterns.split()):
            return role
    return ""
