"""Tensors of a checkpoint in parts: each rank writes what it holds, and reads what it will hold.

They are safetensors files, `shard-0000N-model-....safetensors` of rank N-1, written by
torch.distributed.checkpoint. Each says where in the whole tensors its parts belong, so that any number of
ranks can read them, and no rank ever holds more than its share.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


def write_parts(folder: Path, tensors: Mapping[str, Tensor], group: Any) -> None:
    """Writes this rank's part of `tensors` into `folder`; called on all ranks of `group` at once.

    What is alike on all ranks is written by one of them. Raises OSError, on all ranks, if one cannot write.
    """
    if not tensors:  # before the first step: all ranks know it
        return
    # half a second to import, which one rank never needs
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        save(
            dict(tensors),
            storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
            process_group=group,
        )
    except CheckpointException as error:
        rank, (first, _) = next(iter(error.failures.items()))
        raise OSError(f"rank {rank} cannot write its part: {first}") from error


def read_parts(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fills `tensors`, or this rank's shares of them, from `folder`; no rank waits for another."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # so it is, on purpose
        load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
