"""Prompts and demonstrations become token ids once, and the ids of one begin with those of the other."""

import json

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
    with pytest.raises(ValueError, match="row 3: message 1 of 'prompt' has no role"):
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
    assert prompts.encode("ab<eos>", "row 1") == (1, *ids(tokenizer, "ab"), 2), "an end in the text stays"
    assert prompts.encode("<bos>ab", "row 1") == (1, *ids(tokenizer, "ab")), "no second beginning"
    assert prompts.encode("", "row 1") == (1,), "a beginning is a prompt"


def test_messages_and_the_text_their_template_makes_of_them_are_the_same_ids(tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<bos> $A", None, [("<bos>", 1)])
    prompts = Prompts(tokenizer, {2})
    text = tokenizer.apply_chat_template(ASK, tokenize=False, add_generation_prompt=True)
    assert prompts.encode(text, "row 1") == prompts.encode(ASK, "row 1") == ids(tokenizer, text)
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert prompts.encode(parts, "row 1") == prompts.encode(ASK, "row 1")


def test_a_last_turn_of_the_assistant_is_gone_on_with(tokenizer):
    prompts = Prompts(tokenizer, {2})
    prefill = [*ASK, {"role": "assistant", "content": "c"}]
    assert prompts.encode(prefill, "row 1") == ids(tokenizer, "<user>ab<assistant>c")
    assert prompts.completion(prefill, "d", "row 1") == (*ids(tokenizer, "d"), 2)


TOOLS = [{"type": "function", "function": {"name": "f", "strict": None}}]


def test_a_template_is_given_the_tools_of_the_row_and_the_options(tokenizer):
    tokenizer.chat_template = (
        "{% if tools %}{% for t in tools %}{{ t.function.keys() | join }}{% endfor %}{% endif %}"
        "{{ 'x' if thinking else 'y' }}" + tokenizer.chat_template
    )
    prompts = Prompts(tokenizer, {2}, {"thinking": True})
    assert prompts.encode(ASK, "row 1") == ids(tokenizer, "x<user>ab<assistant>")
    with_tools = ids(tokenizer, "namex<user>ab<assistant>")  # a schema's keys that are None are not there
    assert prompts.encode(ASK, "row 1", {"tools": TOOLS}) == with_tools
    assert prompts.encode(ASK, "row 1", {"tools": json.dumps(TOOLS)}) == with_tools
    assert prompts.encode(ASK, "row 1", {"tools": []}) == prompts.encode(ASK, "row 1", {"tools": None})
    own = {"chat_template_kwargs": {"thinking": False}}
    assert prompts.encode(ASK, "row 1", own) == ids(tokenizer, "y<user>ab<assistant>")
    assert prompts.completion(ASK, "cd", "row 1", {"tools": TOOLS}) == (*ids(tokenizer, "cd"), 2)


def test_what_a_template_has_no_place_for_is_refused(tokenizer):
    with pytest.raises(ValueError, match="row 2: .* has no place for the column 'tools'; leave it out"):
        Prompts(tokenizer, {2}).encode(ASK, "row 2", {"tools": TOOLS})
    with pytest.raises(ValueError, match="row 2: .* no place for 'enable_thinking' of chat_template_kwargs"):
        Prompts(tokenizer, {2}, {"enable_thinking": True}).encode(ASK, "row 2")
    for column, value in {"tools": "{", "chat_template_kwargs": [1]}.items():
        with pytest.raises(ValueError, match=f"row 2: column '{column}' "):
            Prompts(tokenizer, {2}).encode(ASK, "row 2", {column: value})
    with pytest.warns(UserWarning, match="the data has a column 'tools', but its prompts are text"):
        Prompts(tokenizer, {2}).encode("ab", "row 2", {"tools": TOOLS})


REFUSED = {
    "System role not supported": [{"role": "system", "content": "a"}],
    r"message 1 of 'prompt' \(role user\) has no content": [{"role": "user"}],
    r"message 2 of 'prompt' \(role assistant\) has no content": [
        *ASK,
        {"role": "assistant", "tool_calls": []},
    ],
    "message 1 of 'prompt' has no role": [{"content": "a"}],
    "content must be text, got 5": [{"role": "user", "content": 5}],
    "has parts that are not text": [{"role": "user", "content": [{"type": "image"}]}],
    "must be text or a list": [],
    "no token for the character 'é'": [{"role": "user", "content": "aé"}],
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_messages_that_cannot_be_taken_name_the_row(tokenizer, sentence):
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}" + tokenizer.chat_template
    )
    with pytest.raises(ValueError, match=f"^row 9: .*{sentence}"):
        Prompts(tokenizer, {2}).encode(REFUSED[sentence], "row 9")


def test_a_character_without_a_token_is_named(tokenizer):
    with pytest.raises(ValueError, match=r"^row 9: .* no token for the character '²' of 'a²'"):
        Prompts(tokenizer, {2}).encode("a²", "row 9")
    with pytest.raises(ValueError, match="^row 9: .* no token for the character '²'"):
        Prompts(tokenizer, {2}).completion("a", "b²", "row 9")


def test_a_token_without_an_embedding_is_named(tokenizer):
    size = len(tokenizer)
    tokenizer.add_tokens(["<calc>"])
    assert Prompts(tokenizer, {2}, embeddings=size).encode("ab", "row 9") == ids(tokenizer, "ab")
    with pytest.raises(ValueError, match=f"^row 9: .*'<calc>' as number {size}, but"):
        Prompts(tokenizer, {2}, embeddings=size).encode("a<calc>", "row 9")


def test_a_text_far_too_long_is_refused_by_its_beginning(tokenizer, monkeypatch):
    prompts, read = Prompts(tokenizer, {2}, window=4), list[int]()
    monkeypatch.setattr(prompts, "_tokenised", lambda text, *_: read.append(len(text)) or (5,) * len(text))
    for prompt in ("x" * 100_000, [{"role": "user", "content": "x" * 100_000}]):
        with pytest.raises(
            ValueError, match=r"^row 9: .* has more than 256 tokens, but the model reads at most 4;"
        ):
            prompts.encode(prompt, "row 9")
    assert read == [256, 256]
    assert len(prompts.encode("x" * 256, "row 9")) == 256, (
        "whoever knows the room refuses it, with its length"
    )


def test_without_an_end_token_of_the_tokenizer_the_models_is_taken(tokenizer):
    tokenizer.eos_token = None
    assert Prompts(tokenizer, {50, 40}).completion("a", "b", "row 1") == (*ids(tokenizer, "b"), 40)
    assert Prompts(tokenizer, ()).completion("a", "b", "row 1") == ids(tokenizer, "b")


def test_sampling_from_messages(opened, folders):
    policy = opened()
    finished, _ = policy.sample(asked([{"prompt": ASK}], n=2))
    tokenizer = AutoTokenizer.from_pretrained(folders["llama"])
    assert policy.prompt_ids(finished, 0) == ids(tokenizer, "<user>ab<assistant>")
