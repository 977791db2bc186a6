"""Stable Diffusion 3 and FLUX as flow networks: a pipeline of diffusers, trained through LoRA adapters
(PEFT).

    b latents   c, h, w channels, height and width of a latent (h = image_size / 8)

Only the adapters of the transformer are trained; text encoders and VAE are frozen. The reference is the
pipeline without its adapters. The network gets the exact noise level. The distilled guidance of FLUX is an
input; classifier-free guidance is not used (it doubles the calls and changes the sampling law). Saved
adapters load into any pipeline by `load_lora_weights`. Not supported: training all weights, other families.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from oneloop.core import hub
from oneloop.core.extras import MissingExtra
from oneloop.core.part import part
from oneloop.models.flow.adapters import add_adapters, load_adapters, save_adapters
from oneloop.models.flow.pipeline_noise import pipeline_noise_levels

FAMILIES = ("StableDiffusion3Pipeline", "FluxPipeline")
KEPT = 512
"""Prompts whose encodings are cached: about 2 MB each for Stable Diffusion 3 and FLUX, in host memory."""
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


@part(paper="arXiv 2403.03206")
class DiffusionPipeline:
    """A diffusers pipeline by hub name or folder, with LoRA adapters on its transformer."""

    name: Annotated[str, Field(min_length=1)]
    """Hub name or folder, such as stabilityai/stable-diffusion-3.5-medium or black-forest-labs/FLUX.1-dev."""
    image_size: Annotated[int, Field(ge=16)] = 512
    """Height and width of an image, a multiple of 16."""
    rank: Annotated[int, Field(ge=1)] = 32
    """Rank of the LoRA adapters."""
    alpha: Annotated[int, Field(gt=0)] = 64
    """LoRA scale: the adapters' output is multiplied by alpha / rank."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ATTENTION
    """Names of the layers that get an adapter."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Precision of the frozen weights; adapters are fp32."""
    guidance: Annotated[float, Field(ge=0)] = 3.5
    """Distilled guidance scale of FLUX.1-dev; other models ignore it."""
    words: Annotated[int, Field(ge=1, le=512)] = 128
    """Prompt length in tokens of the T5 encoder."""

    def build(self) -> "PipelineNetwork":
        """Loads the pipeline. Raises ValueError when that fails, MissingExtra without the extra `images`."""
        try:
            import diffusers
        except ImportError as error:
            raise MissingExtra("models.diffusion_pipeline", "diffusers", "images") from error
        try:
            with hub.asked(self.name):
                pipeline = diffusers.DiffusionPipeline.from_pretrained(
                    self.name, dtype=getattr(torch, self.dtype), trust_remote_code=False
                )
        except Exception as error:  # whatever a download or a damaged folder raises
            said = hub.why(self.name, error)
            raise ValueError(f"models.diffusion_pipeline.name: cannot load '{self.name}': {said}") from error
        if type(pipeline).__name__ not in FAMILIES:
            raise ValueError(f"'{self.name}' is a {type(pipeline).__name__}; known: {', '.join(FAMILIES)}")
        return PipelineNetwork(self, pipeline)

    def outline(self) -> "PipelineNetwork":
        """The network on the meta device, from the configuration alone. Raises ValueError like `build`."""
        import diffusers

        try:
            with hub.asked(self.name):
                index = diffusers.DiffusionPipeline.load_config(self.name)
                kinds = {name: kind for name, kind in index.items() if isinstance(kind, list) and kind[0]}
                components = {name: self._component(name, *kind) for name, kind in kinds.items()}
        except Exception as error:
            said = hub.why(self.name, error)
            raise ValueError(f"models.diffusion_pipeline.name: cannot find '{self.name}': {said}") from error
        pipeline = getattr(diffusers, index["_class_name"])(**components)
        with torch.device("meta"):
            return PipelineNetwork(self, pipeline)

    def _component(self, name: str, library: str, cls_name: str) -> Any:
        """A component of the pipeline: a network on the meta device, or a tokenizer or scheduler."""
        if library not in ("diffusers", "transformers"):
            raise ValueError(f"its {name} is a {library}.{cls_name}: code of others is never run")
        cls = getattr(importlib.import_module(library), cls_name)
        if not issubclass(cls, nn.Module):
            return cls.from_pretrained(self.name, subfolder=name, trust_remote_code=False)
        with torch.device("meta"):
            if library == "diffusers":
                network = cls.from_config(cls.load_config(self.name, subfolder=name))
            else:
                network = cls(cls.config_class.from_pretrained(self.name, subfolder=name))
        return network.to(getattr(torch, self.dtype))


class PipelineNetwork(nn.Module):
    """The pipeline's transformer as a network: velocities of latents [b, c, h, w] at noise levels [b]."""

    decoder_maps = 4 * 128  # a VAE decoder's widest: about four times 128 channels

    def __init__(self, options: DiffusionPipeline, pipeline: Any):
        super().__init__()
        self.options, self.pipeline = options, pipeline
        self.flux = type(pipeline).__name__ == "FluxPipeline"
        parts = [pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2]
        self.frozen = nn.ModuleList([*parts, *filter(None, [getattr(pipeline, "text_encoder_3", None)])])
        self.transformer = add_adapters(pipeline.transformer, options.rank, options.alpha, options.targets)
        self.frozen.requires_grad_(False)
        side = options.image_size // pipeline.vae_scale_factor
        if options.image_size % (2 * pipeline.vae_scale_factor):
            raise ValueError(
                f"image_size must be a multiple of {2 * pipeline.vae_scale_factor}, got {options.image_size}"
            )
        self.shape = (pipeline.vae.config.latent_channels, side, side)
        self.tokens = side * side // 4 + options.words
        self.picture = (3, options.image_size, options.image_size)
        layers = pipeline.transformer.config.num_layers
        layers += pipeline.transformer.config.get("num_single_layers", 0)
        self.units = layers * pipeline.transformer.inner_dim
        self._encode_once = lru_cache(KEPT)(self._encode)

    def noise_levels(self, steps: int) -> list[float]:
        """[steps + 1], the noise levels that the pipeline itself uses for this number of steps, down to 0.

        Raises ValueError for a scheduler other than FlowMatchEulerDiscreteScheduler.
        """
        return pipeline_noise_levels(self.pipeline, steps, self.tokens - self.options.words)

    @torch.no_grad()
    def encode(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """`words` [b, L, width] and `pooled` [b, width] of the rows' prompts, in host memory.

        Equal prompts of a call are encoded once, and the last few hundred prompts are remembered.
        """
        known = {prompt: self._encode_once(prompt) for prompt in dict.fromkeys(row["prompt"] for row in rows)}
        return {
            name: torch.stack([known[row["prompt"]][name] for row in rows]) for name in ("words", "pooled")
        }

    def _encode(self, prompt: str) -> dict[str, Tensor]:
        device = next(self.transformer.parameters()).device
        length = {"max_sequence_length": self.options.words}
        if self.flux:
            words, pooled, _ = self.pipeline.encode_prompt(prompt, None, device=device, **length)
        else:
            words, _, pooled, _ = self.pipeline.encode_prompt(
                prompt, None, None, device=device, do_classifier_free_guidance=False, **length
            )
        return {"words": words[0].cpu(), "pooled": pooled[0].cpu()}

    def forward(self, latent: Tensor, sigma: Tensor, condition: dict[str, Tensor]) -> Tensor:
        """Velocities [b, c, h, w]."""
        dtype = getattr(torch, self.options.dtype)
        words, pooled = condition["words"].to(dtype), condition["pooled"].to(dtype)
        given = {"encoder_hidden_states": words, "pooled_projections": pooled, "return_dict": False}
        if not self.flux:
            velocity: Tensor = self.transformer(
                hidden_states=latent.to(dtype), timestep=sigma * 1000, **given
            )[0]
            return velocity
        _, height, width = self.shape
        packed = self.pipeline._pack_latents(latent.to(dtype), len(latent), *self.shape)
        places = self.pipeline._prepare_latent_image_ids(1, height // 2, width // 2, latent.device, dtype)
        guidance = (
            torch.full_like(sigma, self.options.guidance) if self.transformer.config.guidance_embeds else None
        )
        nowhere = torch.zeros(words.shape[1], 3, device=latent.device, dtype=dtype)
        velocity = self.transformer(
            hidden_states=packed, timestep=sigma, guidance=guidance, txt_ids=nowhere, img_ids=places, **given
        )[0]
        size = self.options.image_size
        unpacked: Tensor = self.pipeline._unpack_latents(velocity, size, size, self.pipeline.vae_scale_factor)
        return unpacked

    def decode(self, latent: Tensor) -> Tensor:
        """Images [b, 3, H, W] in [0, 1] through the VAE, differentiable."""
        vae = self.pipeline.vae
        scaled = latent / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        image: Tensor = vae.decode(scaled.to(vae.dtype), return_dict=False)[0].float()
        return (image / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def latent(self, images: Tensor) -> Tensor:
        """Latents [b, c, h, w] of images [b, 3, H, W] in [0, 1]: the means of the VAE's posterior."""
        vae = self.pipeline.vae
        mean = vae.encode((images * 2 - 1).to(vae.dtype)).latent_dist.mean
        latent: Tensor = (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
        return latent.float()

    @contextmanager
    def without_adapters(self) -> Iterator[None]:
        """Inside this context the adapters are off: the network is the pipeline as it was loaded."""
        self.transformer.disable_adapters()
        try:
            yield
        finally:
            self.transformer.enable_adapters()

    def save(self, folder: Path) -> None:
        """Writes the adapters and their scale in the format of the pipeline's `load_lora_weights`."""
        save_adapters(self.pipeline, folder)

    def load(self, folder: Path) -> None:
        """Loads what `save` wrote, in place. Raises ValueError for adapters of another rank or scale."""
        load_adapters(self.transformer, folder)
