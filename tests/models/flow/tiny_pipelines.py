"""Stable Diffusion 3 and FLUX built from configuration, with weights of a few kilobytes: nothing is
downloaded."""

from pathlib import Path
from typing import Any

import torch


def clip(width: int) -> tuple[Any, Any]:
    """(text encoder, tokenizer) over single letters."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    letters = [chr(code) for code in range(97, 123)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer({word: i for i, word in enumerate(words)}, [], model_max_length=16)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        projection_dim=width,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
    )
    return CLIPTextModelWithProjection(config), tokenizer


def t5() -> tuple[Any, Any]:
    """(text encoder of one layer, tokenizer) over letters."""
    from transformers import T5Config, T5EncoderModel

    from oneloop.models.language.small_llama import character_tokenizer

    letters = character_tokenizer("abcdefghijklmnopqrstuvwxyz ", 64)
    config = T5Config(vocab_size=len(letters), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return T5EncoderModel(config), letters


def vae(channels: int = 4) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=16,
        shift_factor=0.1,
        scaling_factor=1.5,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def stable_diffusion_3(folder: Path) -> Path:
    """Two CLIPs and a T5."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
    )
    (one, words), (two, words_2), (t5_model, letters) = clip(16), clip(16), t5()
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(),
        text_encoder=one,
        tokenizer=words,
        text_encoder_2=two,
        tokenizer_2=words_2,
        text_encoder_3=t5_model,
        tokenizer_3=letters,
    )
    pipeline.save_pretrained(folder)
    return folder


def flux(folder: Path) -> Path:
    """A CLIP and a T5."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=[4, 4, 8],
        guidance_embeds=True,
    )
    (encoder, words), (t5_model, letters) = clip(16), t5()
    pipeline = FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(),
        text_encoder=CLIPTextModel(encoder.config),
        tokenizer=words,
        text_encoder_2=t5_model,
        tokenizer_2=letters,
    )
    pipeline.save_pretrained(folder)
    return folder
