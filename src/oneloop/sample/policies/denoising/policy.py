"""A flow policy at work: a network that turns noise into an image in a few steps, which are its actions.

    n rollouts   N actions (denoising steps)   b distinct latents forwarded   a actions of one micro-batch

The last call of the network renders the image it predicts, at the last noise level or after `budget` actions;
it is no action, so nothing that cannot change the image is ever trained. All rollouts take a step together,
those that share a latent once (trees/branches.py, denoising/walk.py), and learning forwards step by step too,
so that before the first update ratios are exactly 1 as long as a batch is what was sampled together and its
steps fit one call. A step outside of a row's `window`, and not at its forks, follows the ODE: it is in the
table because the next step starts from it, with share 0 and log-prob 0.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oneloop.core import draws
from oneloop.core.memory import device_of
from oneloop.core.meter import Meter
from oneloop.core.protocols import Contextual, FlowNetwork, Scheduled
from oneloop.core.rollouts import Rollouts
from oneloop.core.rooms import lacking
from oneloop.sample.policies.annotations import annotated
from oneloop.sample.policies.apart import overwrite, second_model
from oneloop.sample.policies.denoising.here import Condition, FlowHere, Inputs
from oneloop.sample.policies.denoising.noise_steps import moves, pieces, prompt_of, starts
from oneloop.sample.policies.denoising.reference import FlowReference
from oneloop.sample.policies.denoising.rendering import composite, rendered
from oneloop.sample.policies.denoising.sde import LEVELS, SHIFT, Noise, NoiseStep, noise_levels, sde_step
from oneloop.sample.policies.denoising.walk import Walk, beginnings, check_demonstration, demonstrations
from oneloop.sample.policies.flow import Flow
from oneloop.sample.policies.trees.branches import distinct


class FlowPolicy:
    """The network being trained, and its sampler."""

    def __init__(self, options: Flow, weights: str | None = None):
        built = options.model.build()
        if missing := lacking(built, FlowNetwork):
            name, known = (
                type(options.model).__name__,
                "flow_transformer, flow_mlp, diffusion_pipeline, one_dm",
            )
            raise ValueError(
                f"policy.flow.model: {name} builds no flow network, it has no {', '.join(missing)}; "
                f"take one of {known}"
            )
        self.device = torch.device(device_of(options.device, "policy.flow.device"))
        self.network: Any = built.to(self.device).eval()
        if weights is not None:
            self.network.load(Path(weights))
        self.model, self.options, self.version = self.network, options, 0
        self.units, self.gives = options.units, options.gives
        self.shape: tuple[int, ...] = tuple(self.network.shape)
        self.stored: torch.dtype = getattr(torch, options.stored)
        self.sigmas = self._noise_levels()
        level = LEVELS[options.noise] if options.level is None else options.level
        self._ode, self._drawn = self._schedule("ode", 0.0), self._schedule(options.noise, level)
        self.reference = FlowReference(options.reference_decay)
        self.meter = Meter(tokens=self.network.tokens)
        self.progress: Callable[[int, int], None] | None = None

    def _noise_levels(self) -> list[float]:
        """sigma_0 > ... > sigma_steps = 0, sigma_0 = 1 for a flow: those of the network's own sampler, if it
        has one."""
        steps, shift = self.options.steps, self.options.shift
        if shift is None and isinstance(self.network, Scheduled):
            return self.network.noise_levels(steps)
        return noise_levels(steps, SHIFT if shift is None else shift)

    def _schedule(self, noise: Noise, level: float) -> list[NoiseStep]:
        pairs = zip(self.sigmas, self.sigmas[1:-1], strict=False)
        return [sde_step(noise, level, sigma, after) for sigma, after in pairs]

    @property
    def room(self) -> int:
        """Most latents of one network call without gradients."""
        return max(1, self.options.tokens_per_call // int(self.network.tokens))

    @property
    def draws(self) -> bool:
        """Whether the present noise schedule draws noise at any step."""
        return self._drawn[0].std > 0

    def velocity(self, latent: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """[b, ...] in fp32, velocities of latents. Counts the latents forwarded in `meter`."""
        self.meter.add(len(latent))
        if torch.is_grad_enabled() or len(latent) <= self.room:
            return self._call(latent, sigma, condition)
        cuts = [slice(start, start + self.room) for start in range(0, len(latent), self.room)]
        called = [self._call(latent[c], sigma[c], {k: v[c] for k, v in condition.items()}) for c in cuts]
        return torch.cat(called)

    def _call(self, latent: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.options.narrow):
            velocity: Tensor = self.reference.call(self.network, latent, sigma, condition)
        return velocity.float()

    def render(self, clean: Tensor, condition: Condition) -> Tensor:
        """Images [b, C, H, W] in [0, 1] of predicted data [b, ...]; outside of a mask the source, if
        asked."""
        images: Tensor = self.network.decode(clean)
        return composite(images, condition) if self.options.composite else images

    # sample

    @torch.no_grad()
    def sample(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """(finished, none): an image is never left half done. Raises ValueError for rows with actions."""
        if len(asked.actions):
            raise ValueError(f"a flow policy starts at noise, but rows {asked.id.tolist()[:8]} have actions")
        walk = Walk(self, asked)
        for step in range(self.options.steps):
            walk.take(step)
            if self.progress is not None:
                self.progress(step + 1, walk.rendered)
        finished = walk.finished()
        if self.options.beside_reference:
            finished = finished.put(reference_output=self._reference_output(asked))
        return finished, asked.take(torch.zeros(0, dtype=torch.long))

    def _reference_output(self, asked: Rollouts) -> Tensor:
        """[n, C, H, W], one image of the reference per group, from noise that no rollout uses; before a
        reference is kept, from the present weights.
        """
        which, first = distinct(asked.group)
        rows = beginnings(asked.take(first), int(draws.mix(asked.facts["seed"], "reference") >> 1))
        with self.as_reference() if self.reference.kept(self.network) else nullcontext():
            walk = Walk(self, rows)
            for step in range(self.options.steps):
                walk.take(step)
        return walk.output[which]

    def demonstrate(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """(finished, none): images that somebody else made, of version -1, from the data's `image` column.

        Raises ValueError naming the row without one.
        """
        return demonstrations(self, asked), asked.take(torch.zeros(0, dtype=torch.long))

    def check_row(self, row: dict[str, Any], where: str, demonstrated: bool) -> None:
        """Raises ValueError, naming `where`, for a row whose picture cannot be learned from, where it is
        `demonstrated`."""
        if demonstrated:
            check_demonstration(self.network, row, where)

    def prompt_room(self, prompt: Any, example: Mapping[str, Any]) -> None:
        """None: a flow network reads conditions, which have no length."""

    @contextmanager
    def greedy(self) -> Iterator[None]:
        """Inside this context sampling follows the ODE: only the start noise is drawn."""
        drawn, self._drawn = self._drawn, self._ode
        try:
            yield
        finally:
            self._drawn = drawn

    def condition(self, rollouts: Rollouts, rows: Tensor) -> Condition:
        """The network's inputs from the prompts of `rows` [b]; equal data rows are encoded once, by the
        present weights or, inside `as_reference`, by the reference's."""
        which, first = distinct(rollouts.key[rows])
        told = [{**rollouts.example[row], "prompt": prompt_of(rollouts, row)} for row in rows[first].tolist()]
        encoded: Condition = self.network.encode(told)
        known = {name: value.to(self.device) for name, value in encoded.items()}
        if isinstance(self.network, Contextual):
            known = self.reference.context(self.network, known)
        return {name: value[which.to(self.device)] for name, value in known.items()}

    def moves(self, rollouts: Rollouts, rows: Tensor, step: Tensor) -> Tensor:
        """[a, 4], `sde.NoiseStep` of each step [a] of `rows` [a]: drawn in its window and at its forks."""
        return moves(rollouts, rows, step, self._ode, self._drawn).to(self.device)

    # learn

    def batches(self, rollouts: Rollouts, wanted: Tensor, budget: int) -> Iterator[Tensor]:
        """Pieces of whole denoising steps, siblings together: at most `budget` tokens, or one latent."""
        return pieces(rollouts, wanted, max(1, budget // self.network.tokens))

    def at(self, rollouts: Rollouts, actions: Tensor) -> FlowHere:
        """`actions` [a] under the present weights; the latents they start from are forwarded once each."""
        step, row = rollouts.depth[actions], rollouts.owner[actions]
        most, taken = self.options.steps - 1, int(step.max()) + 1 if len(step) else 0
        if taken > most:
            raise ValueError(f"rollouts have up to {taken} actions, but policy.flow.steps - 1 is {most}")
        which, chosen, latent = starts(rollouts, actions)
        told = partial(self.condition, rollouts, rollouts.owner[chosen])
        inputs = Inputs(
            latent.to(self.device),
            torch.tensor(self.sigmas)[rollouts.depth[chosen]].to(self.device),
            told(),
            which.to(self.device),
            *self.moves(rollouts, row, step).unbind(1),
        )
        render = partial(rendered, self, rollouts, actions)
        latents = rollouts.actions.latent[actions].float().to(self.device)
        return FlowHere(self, inputs, latents, render, told)

    def annotate(self, rollouts: Rollouts, columns: Sequence[str]) -> Rollouts:
        """Writes `entropy`, `proximal`, `reference` [N] for actions with share > 0, NaN elsewhere."""
        return annotated(self, rollouts, columns, self.options.tokens_per_call)

    # reference, weights, disk

    def keep_reference(self) -> None:
        """From now on the reference means the present weights (with adapters: the network without them)."""
        self.reference.keep(self.network)

    def decode(self, tokens: Sequence[int]) -> str:
        """The empty text: images have no tokens."""
        return ""

    def as_reference(self) -> AbstractContextManager[None]:
        """Inside this context velocities are the reference's."""
        return self.reference.acting(self.network)

    def updated(self) -> None:
        """Call after the weights have changed: counts a new version and moves a moving reference."""
        self.version += 1
        self.reference.follow(self.network)

    def apart(self) -> "FlowPolicy":
        """See `oneloop.core.protocols.Separable`. Raises ValueError where it would sample from a reference
        that moves with the learner."""
        if self.options.beside_reference and self.options.reference_decay is not None:
            raise ValueError(
                f"policy.flow.reference_decay {self.options.reference_decay} moves the reference after each "
                "update, which a sampler beside the learner does not see; take runtime.ahead 0, or no "
                "beside_reference"
            )
        made = copy.copy(self)
        made.network = made.model = second_model(self.network)
        made.reference = copy.copy(self.reference)
        made.meter, made.progress = Meter(tokens=self.network.tokens), None
        return made

    def take(self, weights: Sequence[Tensor], version: int) -> None:
        """See `oneloop.core.protocols.Sampler`."""
        overwrite(self.network, weights)
        self.version = version

    def save(self, folder: Path) -> None:
        """Writes the network's weights: `model.safetensors`, or the adapters of a pipeline."""
        self.network.save(folder)

    def state_dict(self) -> dict[str, Any]:
        """State that is not in the saved weights: the version and the reference's weights."""
        return {"version": self.version, "reference": dict(self.reference.weights) or None}

    def restore(self, folder: Path, state: dict[str, Any]) -> None:
        """Continues, to the bit, from the weights that `save` left in `folder`, and `state_dict`'s state."""
        self.network.load(folder)
        if state["reference"] is not None:
            self.reference.weights = {
                name: weight.clone().to(self.device) for name, weight in state["reference"].items()
            }
        self.version = state["version"]
