import copy
import json

import pytest
import torch
from safetensors.torch import save_file

from oneloop.models.image_tokenizer.one_d_piece import OneDPiece
from oneloop.models.image_tokenizer.released import open_tokenizer
from tests.models.image_tokenizer.tiny import pictures, tiny
from tests.support.rounding import room

# the names of a released checkpoint, of one block and two resolutions, written down from its code
NORM = ("weight", "bias")
BLOCK = [
    *(f"ln_1.{end}" for end in NORM),
    "attn.in_proj_weight",
    "attn.in_proj_bias",
    *(f"attn.out_proj.{end}" for end in NORM),
    *(f"ln_2.{end}" for end in NORM),
    *(f"mlp.c_fc.{end}" for end in NORM),
    *(f"mlp.c_proj.{end}" for end in NORM),
]
SHARED = ["class_embedding", "positional_embedding", "latent_token_positional_embedding"]
NORMS = [f"{name}.{end}" for name in ("ln_pre", "ln_post") for end in NORM]
RESIDUAL = [
    *(f"norm1.{end}" for end in NORM),
    "conv1.weight",
    *(f"norm2.{end}" for end in NORM),
    "conv2.weight",
]
NAMES = {
    "latent_tokens",
    "quantize.embedding.weight",
    "pixel_quantize.embedding.weight",
    *(f"encoder.{name}" for name in [*SHARED, *NORMS]),
    *(f"encoder.transformer.0.{name}" for name in BLOCK),
    *(f"encoder.{name}.{end}" for name in ("patch_embed", "conv_out") for end in NORM),
    *(f"decoder.{name}" for name in [*SHARED, *NORMS, "mask_token"]),
    *(f"decoder.transformer.0.{name}" for name in BLOCK),
    *(f"decoder.{name}.{end}" for name in ("decoder_embed", "ffn.0", "ffn.2") for end in NORM),
    *(f"pixel_decoder.{name}.{end}" for name in ("conv_in", "norm_out", "conv_out") for end in NORM),
    *(f"pixel_decoder.mid.0.{name}" for name in RESIDUAL),
    *(f"pixel_decoder.up.0.block.0.{name}" for name in [*RESIDUAL, "nin_shortcut.weight"]),
    *(f"pixel_decoder.up.1.block.0.{name}" for name in RESIDUAL),
    *(f"pixel_decoder.up.1.upsample_conv.{end}" for end in NORM),
}
SIZES = {
    "image_size": 8,
    "channels": 3,
    "patch": 2,
    "layers": 1,
    "predicts": "codes",
    "proxy_codes": 16,
    "proxy_dims": 8,
    "pixel_channels": 32,
    "pixel_multiples": (1, 2),
    "pixel_blocks": 1,
}


def made_up(folder, **config):
    """A checkpoint of the released layout."""
    tokenizer = tiny(**SIZES, legacy_reshape=True)
    save_file(
        {name: weight.contiguous() for name, weight in tokenizer.state_dict().items()},
        folder / "model.safetensors",
    )
    vq = {
        "vit_enc_model_size": [16, 1, 2],
        "vit_dec_model_size": [16, 1, 2],
        "vit_enc_patch_size": 2,
        "vit_dec_patch_size": 2,
        "num_latent_tokens": 7,
        "token_size": 4,
        "codebook_size": 32,
        "commitment_cost": 0.25,
        "use_l2_norm": True,
        "finetune_decoder": True,
        **config,
    }
    raw = {"model": {"vq_model": vq}, "dataset": {"preprocessing": {"crop_size": 8}}}
    (folder / "config.json").write_text(json.dumps(raw))
    return tokenizer


def test_a_checkpoint_of_the_released_layout_has_the_released_names():
    assert set(tiny(**SIZES).state_dict()) == NAMES


def test_a_checkpoint_of_the_released_layout_is_loaded(tmp_path):
    tokenizer = made_up(tmp_path)
    loaded, images = open_tokenizer(tmp_path), pictures(2, channels=3)
    assert loaded.config == tokenizer.config and loaded.config.legacy_reshape
    assert torch.equal(loaded.encode(images), tokenizer.encode(images))
    assert torch.equal(loaded.decode(loaded.encode(images), 3), tokenizer.decode(tokenizer.encode(images), 3))
    part = OneDPiece(folder=str(tmp_path)).build()
    part.save_pretrained(tmp_path / "own")
    again = open_tokenizer(tmp_path / "own")
    assert torch.equal(again(images).image, tokenizer(images).image)


def test_released_checkpoints_that_cannot_be_loaded(tmp_path):
    made_up(tmp_path, vit_enc_model_size="huge")
    with pytest.raises(ValueError, match="one of small, base, large, got 'huge'"):
        open_tokenizer(tmp_path)
    made_up(tmp_path, use_l2_norm=False)
    with pytest.raises(ValueError, match="without l2 norm"):
        open_tokenizer(tmp_path)
    made_up(tmp_path, num_latent_tokens=9)
    with pytest.raises(ValueError, match="latent_tokens has shape"):
        open_tokenizer(tmp_path)
    made_up(tmp_path)
    save_file({"latent_tokens": torch.zeros(7, 16)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="has no pixel decoder"):
        open_tokenizer(tmp_path)


def test_the_expected_code_under_the_logits_is_decoded():
    tokenizer = tiny(**SIZES)
    codes = tokenizer.quantize.lookup(torch.tensor([[1, 2, 3]]))
    logits = tokenizer.predict(codes)
    assert logits.shape == (1, 16, 4, 4)
    mean = (logits.softmax(1).permute(0, 2, 3, 1) @ tokenizer.proxy_codebook).permute(0, 3, 1, 2)
    gap = room(lambda move: move(copy.deepcopy(tokenizer)).render(codes))
    torch.testing.assert_close(tokenizer.render(codes), tokenizer.pixel_decoder(mean), atol=gap, rtol=0)
