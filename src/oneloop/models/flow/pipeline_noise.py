"""The noise levels a pipeline itself uses, so that a policy takes the steps its model was trained for."""

from typing import Any

import numpy as np


def pipeline_noise_levels(pipeline: Any, steps: int, image_tokens: int) -> list[float]:
    """[steps + 1], noise levels sigma_0 > ... > 0 that `pipeline` itself uses for `image_tokens` tokens.

    FLUX spaces them evenly from 1 to 1 / steps, Stable Diffusion 3 as its scheduler does; both are then
    shifted as the scheduler's configuration says, by the image's size if it asks for that. Raises ValueError
    for another scheduler.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler: Any = pipeline.scheduler
    config, kind = scheduler.config, type(scheduler)
    if kind is not FlowMatchEulerDiscreteScheduler or config.invert_sigmas:
        raise ValueError(
            f"the pipeline's scheduler is a {kind.__name__}, whose noise levels are not known "
            "here (FlowMatchEulerDiscreteScheduler is): give policy.flow.shift, or a pipeline with that one"
        )
    options: dict[str, Any] = {}
    if config.use_dynamic_shifting:
        names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        options["mu"] = calculate_shift(image_tokens, *(config[name] for name in names))
    if type(pipeline).__name__ == "FluxPipeline":
        options["sigmas"] = np.linspace(1.0, 1 / steps, steps)
    own: Any = kind.from_config(config)  # the pipeline's keeps its state
    own.set_timesteps(steps, **options)
    levels: list[float] = own.sigmas.tolist()
    return levels
