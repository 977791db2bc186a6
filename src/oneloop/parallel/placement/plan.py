"""A sharding plan: where every tensor lives, which collectives that takes, and its form as JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.distributed.tensor import Placement

from oneloop.parallel.placement.boxing import Collective
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.notation import Where, parsed
from oneloop.parallel.placement.signatures import Signature

VERSION = 1


@dataclass(frozen=True)
class Move:
    """One tensor's change of placement, made once for all operations that use it there."""

    value: str
    """The operation that made the tensor, and `:index` where it made several."""
    shape: tuple[int, ...]
    source: str
    """Placement before, as in `oneloop.parallel.placement.notation`."""
    stops: tuple[str, ...]
    """Placements on the way; the last is the one wanted."""
    collectives: tuple[Collective, ...]
    module: str
    phase: str
    used_by: str
    """The first operation that uses the tensor at its new placement; `gradient` or `loss` for results."""
    made_by: str
    """What made it: `parameter NAME`, `input NAME`, or the operation and its module."""

    @property
    def volume(self) -> int:
        """Bytes that all ranks send together, by the table."""
        return sum(one.volume for one in self.collectives)


@dataclass(frozen=True, kw_only=True)
class ShardingPlan:
    """Where every tensor of a training step lives on a mesh, and what that moves. Frozen; JSON
    round-trips."""

    mesh: tuple[int, ...]
    model: str
    """Class of the model."""
    link: str
    objective: str
    fingerprint: str
    """Hash of the traced step, its shapes and the mesh; a plan is applied to nothing else."""
    parameters: Mapping[str, str]
    """Placements by fully qualified name; of tied parameters the first name."""
    tied: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of the parameters."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Placements of the model's inputs by name."""
    signatures: Mapping[str, tuple[tuple[str, ...], tuple[str | None, ...], bool]]
    """By operation: placements of its inputs and outputs, and whether it runs on whole tensors without
    DTensor."""
    moves: tuple[Move, ...]
    seconds: float
    """Estimated seconds of a step, nothing overlapped."""
    flops_per_rank: float
    parameter_memory: int
    """Bytes of parameters on one rank."""
    optimizer_memory: int
    activation_memory: int
    """Most bytes of activations, gathered copies and gradients alive at once, counted from the graph."""
    cost: float
    bound: float
    """Lower bound on the cost of any plan of the search space, as proven when the solver stopped."""
    status: str
    """`optimal`, `time limit`, or `axis by axis` (best found, not proven)."""
    solve_seconds: float
    notes: Mapping[str, str] = field(default_factory=dict)
    """{what was not offered to the search: why}."""

    @cached_property
    def collectives(self) -> tuple[Collective, ...]:
        """Every collective of a step."""
        return tuple(one for move in self.moves for one in move.collectives)

    @property
    def bytes_per_step(self) -> int:
        """Bytes that all ranks send together in forward and backward; the optimiser's step sends none."""
        return sum(one.volume for one in self.collectives)

    @property
    def bytes_per_rank(self) -> float:
        """Bytes that a rank sends in a step."""
        return sum(one.volume_per_rank for one in self.collectives)

    @property
    def memory(self) -> int:
        """Bytes on one rank: parameters, optimiser state, and the most that is alive at once besides."""
        return self.parameter_memory + self.optimizer_memory + self.activation_memory

    @property
    def gap(self) -> float:
        """(cost - bound) / cost: 0 is a proven optimum."""
        return max(0.0, self.cost - self.bound) / self.cost if self.cost else 0.0

    @property
    def digest(self) -> str:
        """Hash of all that ranks must agree on."""
        text = repr((self.fingerprint, sorted(self.parameters.items()), sorted(self.signatures.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def placements(self) -> dict[str, Where]:
        """Placements per fully qualified parameter name, tied names included."""
        found = {name: parsed(text) for name, text in self.parameters.items()}
        return found | {name: found[first] for name, first in self.tied.items()}

    def signature(self, operation: str) -> Signature:
        """The signature with which an operation runs."""
        inputs, outputs, local = self.signatures[operation]
        made: list[tuple[Placement, ...] | None] = [
            None if text is None else parsed(text) for text in outputs
        ]
        return Signature(tuple(map(parsed, inputs)), tuple(made), local)

    def to_json(self) -> str:
        """The plan as JSON text."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1)

    @staticmethod
    def from_json(text: str) -> "ShardingPlan":
        """The plan that `to_json` wrote. Raises PlacementError for other text."""
        try:
            data = json.loads(text)
            if data.pop("version") != VERSION:
                raise PlacementError(f"the plan is not of version {VERSION}: make it again")
            data["mesh"] = tuple(data["mesh"])
            data["shapes"] = {name: tuple(shape) for name, shape in data["shapes"].items()}
            data["signatures"] = {
                name: (tuple(inputs), tuple(outputs), local)
                for name, (inputs, outputs, local) in data["signatures"].items()
            }
            data["moves"] = tuple(_move(move) for move in data["moves"])
            return ShardingPlan(**data)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise PlacementError(f"no sharding plan: {error}") from error

    @staticmethod
    def read(path: Path) -> "ShardingPlan":
        """The plan in a file."""
        return ShardingPlan.from_json(Path(path).read_text(encoding="utf-8-sig"))


def _move(data: dict[str, Any]) -> Move:
    collectives = tuple(Collective(**one) for one in data.pop("collectives"))
    data |= {"shape": tuple(data["shape"]), "stops": tuple(data["stops"])}
    return Move(**data, collectives=collectives)
