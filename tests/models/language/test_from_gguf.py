"""from_gguf.py: a GGUF file becomes a folder that loads by itself and gives the same logits."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from oneloop.models.language.from_gguf import convert

gguf = pytest.importorskip("gguf", reason="pip install gguf (extra `demo`)")

LETTERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefg", "ab"]
WIDTH, HIDDEN = 8, 16
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"


def write_gguf(path):
    """A Llama of one block with two heads; returns its embedding."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // 2)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(LETTERS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(LETTERS)
    writer.add_token_types([3, 3, 3, *[1] * 8])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)
    shapes = {f"blk.0.attn_{name}.weight": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    shapes |= {f"blk.0.ffn_{name}.weight": (HIDDEN, WIDTH) for name in ("gate", "up")}
    shapes |= {"blk.0.ffn_down.weight": (WIDTH, HIDDEN), "token_embd.weight": (len(LETTERS), WIDTH)}
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    norms = ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight")
    for name, tensor in (tensors | {name: np.ones(WIDTH, np.float32) for name in norms}).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors["token_embd.weight"]


def test_a_file_becomes_a_folder_that_loads_by_itself(tmp_path):
    embedding = write_gguf(tmp_path / "model.gguf")
    convert(tmp_path / "model.gguf", tmp_path / "folder")
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32).eval()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "folder").eval()
    ids = torch.tensor([[1, 3, 7, 4, 2]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, read(ids).logits)
    assert np.array_equal(model.get_input_embeddings().weight.detach().numpy(), embedding)
    assert model.dtype == torch.float32 and not hasattr(model.config, "quantization_config")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "folder")
    assert tokenizer.chat_template == TEMPLATE and tokenizer.eos_token == "<|im_end|>"
    with pytest.raises(FileExistsError):
        convert(tmp_path / "model.gguf", tmp_path / "folder")
