"""A policy whose network is an image tokenizer: it learns from images, and shows how they come out.

    n rollouts   K tokens of a rollout

A demonstration is one action, the whole image, of which the first `budget` tokens are decoded (-1: all). A
sample is what the tokenizer makes of the data row's image: its tokens are the actions, and the image decoded
from them is the output. Nothing is drawn, so a sample cannot be learned from by reward.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oneloop.core import draws
from oneloop.core.memory import device_of
from oneloop.core.meter import Meter
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer, fit
from oneloop.sample.policies.image_tokenizer import ImageTokenizer
from oneloop.sample.policies.image_tokens.here import PieceHere
from oneloop.sample.policies.image_tokens.memory import forwarded, row_image

VECTORS = 8192
"""Most vectors of the latest images that unused codes can move onto."""


class Moment(NamedTuple):
    """When the latest forward for learning was."""

    seed: int
    step: int
    progress: float


class ImageTokenizerPolicy:
    """The tokenizer being trained."""

    def __init__(self, options: ImageTokenizer, weights: str | None = None):
        self.device = torch.device(device_of(options.device, "policy.image_tokenizer.device"))
        self.model: OneDTokenizer = options.model.build().to(self.device)
        if weights is not None:
            fit(self.model, self.model.from_pretrained(Path(weights)).state_dict(), weights)
        self.options, self.version = options, 0
        self.units, self.gives = options.units, options.gives
        self.meter = Meter(tokens=forwarded(self.model.config))
        self.progress: Callable[[int, int], None] | None = None
        self._used = torch.zeros(self.model.config.codebook_size, dtype=torch.long)
        self._vectors = torch.empty(0, self.model.config.code_dims)
        self._moment = Moment(0, 0, 0.0)
        self._here: PieceHere | None = None

    # sample

    @torch.no_grad()
    def sample(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """(finished, none): each row's image through the tokenizer, with its first `budget` tokens."""
        images, lengths = self._images(asked), self._lengths(asked)
        tokens, outputs = [], []
        for piece in torch.arange(len(asked)).split(self.options.images_per_call):
            self.meter.add(len(piece))
            found = self.model.encode(images[piece].to(self.device))
            outputs.append(self.model.decode(found, lengths[piece]).cpu())
            tokens.append(found.cpu())
            if self.progress is not None:
                self.progress(int(lengths[: int(piece[-1]) + 1].sum()), int(piece[-1]) + 1)
        whole = torch.cat(tokens) if tokens else torch.empty(0, self.model.config.tokens, dtype=torch.long)
        place = torch.arange(self.model.config.tokens)
        kept = place < lengths[:, None]
        last = lengths.cumsum(0) - 1
        count = int(lengths.sum())
        parent = torch.arange(count) - 1
        parent[(last + 1)[:-1]] = -1
        table = {
            "parent": parent,
            "version": torch.full((count,), self.version),
            "token": whole[kept],
            "share": torch.ones(count),
        }
        output = torch.cat(outputs) if outputs else images
        columns: dict[str, Any] = {**asked.columns, "last": last, "status": ["stop"] * len(asked)}
        finished = Rollouts({**columns, "output": output}, Actions(table), asked.facts)
        return finished, asked.take(torch.zeros(0, dtype=torch.long))

    def demonstrate(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """(finished, none): the rows' own images, each one action of version -1.

        Raises ValueError naming the row without one.
        """
        images, count = self._images(asked), len(asked)
        self._lengths(asked)  # says now what would fail when learning
        table = {
            "parent": torch.full((count,), -1),
            "version": torch.full((count,), -1),
            "latent": images,
            "logprob": torch.full((count,), torch.nan),
            "share": torch.ones(count),
        }
        columns: dict[str, Any] = {**asked.columns, "last": torch.arange(count), "status": ["stop"] * count}
        finished = Rollouts({**columns, "output": images}, Actions(table), asked.facts)
        return finished, asked.take(torch.zeros(0, dtype=torch.long))

    def _images(self, asked: Rollouts) -> Tensor:
        """[n, C, H, W]."""
        rows = zip(asked.example, asked.key, strict=True)
        wanted = self.model.config.picture
        found = [row_image(row, f"data row {int(key)}", wanted) for row, key in rows]
        return torch.stack(found) if found else torch.empty(0, *wanted)

    def _lengths(self, asked: Rollouts) -> Tensor:
        """int64 [n], tokens that are decoded. Raises ValueError for a budget above those of an image."""
        most = self.model.config.tokens
        if len(asked) and int(asked.budget.max()) > most or bool((asked.budget == 0).any()):
            raise ValueError(
                f"an image has 1 to {most} tokens, but rollouts are given a budget of "
                f"{int(asked.budget.max())}; let plan.dress draw at most {most}"
            )
        return torch.where(asked.budget < 0, most, asked.budget)

    def check_row(self, row: dict[str, Any], where: str, demonstrated: bool) -> None:
        """Raises ValueError, naming `where`, for a row without a picture that can be read."""
        row_image(row, where, self.model.config.picture)

    def prompt_room(self, prompt: Any, example: Mapping[str, Any]) -> None:
        """None: a tokenizer reads images, not prompts."""

    def greedy(self) -> AbstractContextManager[None]:
        """A context that changes nothing: tokens of an image are not drawn."""
        return nullcontext()

    def decode(self, tokens: Sequence[int]) -> str:
        """The numbers of the codes."""
        return " ".join(str(int(token)) for token in tokens)

    # learn

    def annotate(self, rollouts: Rollouts, columns: Sequence[str]) -> Rollouts:
        """Refused: there is no column that it could write."""
        raise ValueError(f"an image tokenizer cannot annotate {', '.join(columns)}")

    def batches(self, rollouts: Rollouts, wanted: Tensor, budget: int) -> Iterator[Tensor]:
        """Pieces of as many images as have `budget` positions in encoder and decoder together; one at
        least."""
        room = max(1, budget // forwarded(self.model.config))
        yield from wanted.nonzero().squeeze(1).split(room)

    def at(self, rollouts: Rollouts, actions: Tensor) -> PieceHere:
        """The images that are `actions` [a] under the present weights; notes which codes they use."""
        rows = rollouts.owner[actions]
        lengths = self._lengths(rollouts.take(rows)).to(self.device)
        self.meter.add(len(actions))
        here = PieceHere(self.model, rollouts.actions.latent[actions].to(self.device), lengths)
        self._here, facts = here, rollouts.facts
        self._moment = Moment(int(facts["seed"]), int(facts["step"]), float(facts["progress"]))
        if torch.is_grad_enabled() and self.options.revive_every:
            indices = here.quantized.indices.flatten().cpu()
            self._used += indices.bincount(minlength=len(self._used))
            self._vectors = torch.cat([here.vectors().cpu(), self._vectors])[:VECTORS]
        return here

    def keep_reference(self) -> None:
        """Nothing: no objective on images reads a reference."""

    def updated(self) -> None:
        """Counts a new version; from time to time moves codes that nobody used."""
        self.version += 1
        every, moment = self.options.revive_every, self._moment
        if not every or self.version % every or not len(self._vectors):
            return
        # where only the decoder learns, what the codes mean must stay
        learns = self._here is not None and self._here.trains_codes
        if learns and moment.progress < self.options.revive_until:
            keys = draws.mix(moment.seed, moment.step, "revive")
            order = draws.uniforms(keys, torch.arange(len(self._vectors)).numpy()).argsort(kind="stable")
            self.model.quantize.revive(
                self._used.to(self.device), self._vectors.to(self.device), torch.from_numpy(order)
            )
        self._used.zero_()
        self._vectors = self._vectors[:0]

    # disk

    def save(self, folder: Path) -> None:
        """Writes the weights as the tokenizer's `save_pretrained` does; `open` and `restore` read them."""
        self.model.save_pretrained(folder)

    def state_dict(self) -> dict[str, Any]:
        """The version, and what is known of the codes that are in use."""
        return {
            "version": self.version,
            "used": self._used.clone(),
            "vectors": self._vectors.clone(),
            "moment": list(self._moment),
        }

    def restore(self, folder: Path, state: dict[str, Any]) -> None:
        """Continues, to the bit, from the weights that `save` left in `folder`, and `state_dict`'s state."""
        fit(self.model, self.model.from_pretrained(folder).state_dict(), str(folder))
        self.version, self._used, self._vectors = state["version"], state["used"], state["vectors"]
        self._moment = Moment(*state["moment"])
