"""Prompts and demonstrations become token ids once, and the ids of one begin with those of the other."""

import pytest
from transformers import AutoTokenizer

from oneloop.models.language.small_llama import character_tokenizer
from oneloop.sample.policies.tokens.prompts import Prompts
from tests.sample.policies.conftest import ALPHABET, asked

ASK = [{"role": "user", "content": "ab"}]
THINKING = (  # as Qwen3: what an earlier turn thought is not shown again
    "{% for m in messages %}{{ '<' + m['role'] + '>' }}"
    "{% if m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% else %}{{ m['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>thinking{% endif %}"
)


@pytest.fixture
def tokenizer():
    return character_tokenizer(ALPHABET + "\n", 128)


def ids(tokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_plain_text(tokenizer):
    prompts = Prompts(tokenizer, {2})
    assert prompts.encode("abc", "row 1") == ids(tokenizer, "abc")
    assert prompts.completion("abc", "de", "row 1") == (*ids(tokenizer, "de"), 2)
    assert prompts.completion("abc", "de<eos>", "row 1") == (*ids(tokenizer, "de"), 2), "no second end"


def test_chat(tokenizer):
    prompts = Prompts(tokenizer, {2})
    head = prompts.encode(ASK, "row 1")
    assert head == ids(tokenizer, "<user>ab<assistant>")
    answer = (*ids(tokenizer, "cd"), 2)
    assert prompts.completion(ASK, "cd", "row 1") == answer
    assert prompts.completion(ASK, [{"role": "assistant", "content": "cd"}], "row 1") == answer


def test_what_a_template_writes_after_the_end_of_the_turn_is_not_learned(tokenizer):
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ eos_token }}", "{{ eos_token + '\n' }}")
    prompts = Prompts(tokenizer, {2})
    assert prompts.completion(ASK, "cd", "row 1") == (*ids(tokenizer, "cd"), 2)
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ eos_token + '\n' }}", "")
    assert prompts.completion(ASK, "cd", "row 1") == (*ids(tokenizer, "cd"), 2), "a turn without end gets one"


def test_a_template_that_breaks_the_prefix_is_an_error(tokenizer):
    tokenizer.chat_template = THINKING
    prompts = Prompts(tokenizer, {2})
    assert prompts.encode(ASK, "row 1") == ids(tokenizer, "<user>ab<assistant>thinking")
    with pytest.raises(ValueError, match="row 7: the chat template writes the prompt differently"):
        prompts.completion(ASK, "cd", "row 7")


def test_what_cannot_be_encoded_is_named(tokenizer):
    prompts = Prompts(tokenizer, {2})
    with pytest.raises(ValueError, match="row 3: 'prompt' must be text or a list of .* got 5"):
        prompts.encode(5, "row 3")
    with pytest.raises(ValueError, match="row 3: 'prompt' must be text or a list"):
        prompts.encode([{"content": "no role"}], "row 3")
    with pytest.raises(ValueError, match="row 3: 'prompt' is empty"):
        prompts.encode("", "row 3")
    with pytest.raises(
        ValueError, match="row 3: 'completion' is a list of messages, so 'prompt' must be one"
    ):
        prompts.completion("ab", [{"role": "assistant", "content": "c"}], "row 3")
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="row 3: .* tokenizer has no chat template"):
        prompts.encode(ASK, "row 3")


def test_a_tokenizer_that_closes_every_text_does_not_end_the_turn_before_it_begins(tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        "<bos> $A <eos>", None, [("<bos>", 1), ("<eos>", 2)]
    )
    assert tokenizer("ab")["input_ids"] == [1, *ids(tokenizer, "ab"), 2]
    prompts = Prompts(tokenizer, {2})
    assert prompts.encode("ab", "row 1") == (1, *ids(tokenizer, "ab"))
    assert prompts.encode("ab<eos>", "row 1") == (1, *ids(tokenizer, "ab"), 2, 2), "an end in the text stays"


def test_without_an_end_token_of_the_tokenizer_the_models_is_taken(tokenizer):
    tokenizer.eos_token = None
    assert Prompts(tokenizer, {50, 40}).completion("a", "b", "row 1") == (*ids(tokenizer, "b"), 40)
    assert Prompts(tokenizer, ()).completion("a", "b", "row 1") == ids(tokenizer, "b")


def test_sampling_from_messages(opened, folders):
    policy = opened()
    finished, _ = policy.sample(asked([{"prompt": ASK}], n=2))
    tokenizer = AutoTokenizer.from_pretrained(folders["llama"])
    assert policy.prompt_ids(finished, 0) == ids(tokenizer, "<user>ab<assistant>")
