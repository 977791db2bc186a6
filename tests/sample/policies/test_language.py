"""The language policy: what is learned from is what was sampled, for every architecture and any cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from oneloop.engines.law import Law
from oneloop.engines.request import Reply
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens import forward, here
from oneloop.sample.policies.tokens.flat import Flat
from oneloop.sample.policies.tokens.packing import Prompt, pack
from oneloop.update.objective.one_token import OneToken
from oneloop.update.objective.supervised import Supervised
from tests.engines.tiny_models import ARCHITECTURES, tiny
from tests.sample.policies.conftest import PROMPTS, agree, asked, everything, gradients, rounding
from tests.support.rounding import moved_by, relative, reordered, room

LAWS = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.3, "top_k": 5},
    {"top_p": 0.7},
    {"min_p": 0.2, "temperature": 0.8},
    {"temperature": 0.0},
]


def now(policy, rollouts, budget: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """(logprob [N], entropy [N]) of all actions under the present weights, in micro-batches."""
    logprob, entropy = torch.full((2, len(rollouts.actions)), torch.nan)
    with torch.no_grad():
        for piece in policy.batches(rollouts, everything(rollouts), budget):
            at = policy.at(rollouts, piece)
            logprob[piece], entropy[piece] = at.logprob, at.entropy
    return logprob, entropy


def moved_now(policy, rollouts, moved, budget: int = 10**6) -> torch.Tensor:
    """`now` [2, N] under weights that `moved` changed; they are put back."""
    with moved_by(moved, policy.model):
        return torch.stack(now(policy, rollouts, budget))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_log_probs_are_those_of_sampling(opened, name):
    for law in LAWS if name in ("llama", "gemma2", "gpt2") else LAWS[1:4]:
        policy = opened(name, **law)
        finished, unfinished = policy.sample(asked())
        assert len(unfinished) == 0 and len(finished) == 12
        agree(policy, finished, finished.actions.logprob, now(policy, finished)[0])
        assert finished.actions.version.eq(0).all() and finished.actions.share.eq(1).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_after_the_weights_moved_the_law_is_the_models_own(opened, name):
    policy = opened(name, temperature=0.7)
    finished, _ = policy.sample(asked())
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(0.02 * torch.sin(torch.arange(weight.numel())).view_as(weight))
    policy.updated()
    logprob, entropy = now(policy, finished)
    agree(policy, finished, logprob)
    gap = room(lambda moved: moved_now(policy, finished, moved)[1])
    position = 0
    for row in range(len(finished)):
        prompt = policy.tokenizer(finished.context[row][0][1])["input_ids"]
        tokens = finished.take(torch.tensor([row])).actions.token
        ids = torch.tensor([*prompt, *tokens.tolist()])[None]
        with torch.no_grad():
            law = (policy.model(ids).logits[0, len(prompt) - 1 : -1] / 0.7).log_softmax(-1)
        span = slice(position, position + len(tokens))
        assert (entropy[span] + (law.exp() * law).sum(-1)).abs().max() <= gap
        position += len(tokens)
    again, _ = policy.sample(asked())
    assert again.actions.version.eq(1).all()
    agree(policy, again, again.actions.logprob, now(policy, again)[0])


def test_under_a_truncating_law_entropy_counts_what_is_kept():
    logits = torch.tensor([[2.0, 1.0, 0.0, -9.0]], dtype=torch.float64, requires_grad=True)
    logprob, entropy = forward.chosen_logprob(logits, torch.tensor([1]), Law(top_k=2))
    p = 1 / (1 + np.exp(-1.0))
    assert logprob.item() == pytest.approx(np.log(1 - p))
    assert entropy.item() == pytest.approx(-p * np.log(p) - (1 - p) * np.log(1 - p))
    entropy.sum().backward()
    assert logits.grad.isfinite().all() and logits.grad[0, 2:].eq(0).all()
    # a token that fell out of the kept set since it was drawn is put back
    logprob, _ = forward.chosen_logprob(logits, torch.tensor([2]), Law(top_k=2))
    assert logprob.item() == pytest.approx(-np.log(np.exp(2) + np.exp(1) + 1))


@pytest.mark.parametrize("law", [{}, {"temperature": 0.6}, {"top_k": 3}], ids=str)
def test_slopes_of_log_probs_and_entropies_are_those_of_plain_operations(law):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 9, dtype=torch.float64, generator=generator, requires_grad=True)
    logits.data[0, 2] = forward.FORBIDDEN
    tokens = torch.randint(3, 9, (5,), generator=generator)

    def plain(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scaled = logits / law.get("temperature", 1.0)
        if Law(**law).truncates:
            kept = Law(**law).kept(scaled).scatter(1, tokens[:, None], True)
            scaled = scaled.masked_fill(~kept, float("-inf"))
        logprob = scaled.log_softmax(-1)
        entropy = -(logprob.exp() * logprob.clamp(min=-1e9)).sum(-1)
        return logprob.gather(1, tokens[:, None]).squeeze(1), entropy

    found, wanted = forward.chosen_logprob(logits, tokens, Law(**law)), plain(logits)
    weights = torch.randn(2, 5, dtype=torch.float64, generator=generator)
    for parts in ([0, 1], [0], [1]):
        slopes = [
            torch.autograd.grad(sum((weights[i] * pair[i]).sum() for i in parts), logits, retain_graph=True)[
                0
            ]
            for pair in (found, wanted)
        ]
        assert torch.allclose(*slopes, atol=1e-12) and bool(slopes[0].isfinite().all())
    assert all(torch.allclose(part, other, atol=1e-12) for part, other in zip(found, wanted, strict=True))


# any cut


@pytest.mark.parametrize("budget", [1, 13, 40, 100, 10**6])
def test_every_wanted_action_is_in_exactly_one_batch(opened, budget):
    policy = opened()
    finished, _ = policy.sample(asked())
    wanted = torch.arange(len(finished.actions)) % 3 > 0
    wanted &= finished.owner != 4  # a rollout of which nothing is wanted
    pieces = list(policy.batches(finished, wanted, budget))
    assert sorted(torch.cat(pieces).tolist()) == wanted.nonzero().squeeze(1).tolist()
    owners = [set(finished.owner[piece].tolist()) for piece in pieces]
    assert sum(map(len, owners)) == len(set().union(*owners)) == len(finished) - 1, "rollouts are never cut"
    for rows, piece in zip(owners, pieces, strict=True):
        assert len(rows) == 1 or policy.at(finished, piece).packed.ids.numel() <= budget
    assert not list(policy.batches(finished, wanted & False, budget))


CUTS = ("llama", "qwen3", "gemma2", "gemma3_text", "gpt2", "olmo2")
FLAT = ("llama", "qwen3", "gpt2", "olmo2")
"""Of these, those whose attention takes blocks and has no window."""


@pytest.mark.parametrize("name", CUTS)
def test_gradients_do_not_depend_on_the_cut(opened, name):
    policy = opened(name, temperature=0.9)
    finished, _ = policy.sample(asked())
    whole = gradients(policy, finished, [torch.arange(len(finished.actions))])
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(len(finished.actions), generator=draw)
    cuts = [
        *(policy.batches(finished, everything(finished), budget) for budget in (1, 30)),
        order.split(17),  # pieces of actions that cut through rollouts
    ]
    for cut in cuts:
        assert relative(gradients(policy, finished, cut), whole) < rounding(policy)


def test_in_double_precision_they_agree_to_that_precision(opened):
    policy = opened("gpt2")  # Llama's own norms compute in fp32 whatever the weights are
    finished, _ = policy.sample(asked())
    policy.model.double()
    whole = gradients(policy, finished, [torch.arange(len(finished.actions))])
    for budget in (1, 30, 100):
        cut = policy.batches(finished, everything(finished), budget)
        assert relative(gradients(policy, finished, cut), whole) < reordered(policy.model, torch.float64)


@pytest.mark.parametrize("name", CUTS)
def test_packed_rows_are_worth_sequences_alone(opened, name):
    policy = opened(name)
    finished, _ = policy.sample(asked())
    every, found = torch.arange(len(finished.actions)), {}
    for layout in ("as found", "rows", "alone"):
        policy.forward.flattens &= layout == "as found"
        policy.forward.width *= layout != "alone"
        packed = policy.at(finished, every).packed
        assert isinstance(packed, Flat) == (layout == "as found" and name in FLAT)
        assert isinstance(packed, Flat) or packed.shares == (policy.forward.packed_width(30) > 0)
        found[layout] = gradients(policy, finished, [every])
    for layout in ("as found", "rows"):
        assert relative(found[layout], found["alone"]) < rounding(policy)


@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=8),
    st.lists(st.integers(1, 6), min_size=8, max_size=8),
    st.integers(0, 14),
)
@settings(max_examples=60)
def test_packing_places_every_token_after_its_own_prefix(prompts, lengths, width):
    completions = [[10 * (i + 1) + depth for depth in range(lengths[i])] for i in range(len(prompts))]
    packed = pack([Prompt(tuple(prompt)) for prompt in prompts], completions, width)
    mask = packed.mask(torch.float32)[:, 0] == 0
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        for depth in range(len(completion)):
            row, column = packed.place(torch.tensor([i]), torch.tensor([depth]))
            seen = mask[row[0], column[0]].nonzero().squeeze(1)
            assert packed.ids[row[0], seen].tolist() == [*prompt, *completion[:depth]]
            assert packed.positions[row[0], seen].tolist() == list(range(len(prompt) + depth))
    if width == 0:
        assert not packed.shares


def test_longer_than_the_sliding_window_nothing_is_packed(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    from oneloop.models.language.small_llama import character_tokenizer

    tokenizer = character_tokenizer("abc", 1024)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            num_key_value_heads=1,
            sliding_window=400,
            initializer_range=0.3,
            **sizes,
        )
    )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    policy = Language(model=str(tmp_path), max_new_tokens=6).open()
    for prompts, packs in ((["a" * 20, "b" * 30], True), (["a" * 20, "ab" * 250], False)):
        finished, _ = policy.sample(asked(prompts, n=2))
        packed = policy.at(finished, torch.arange(len(finished.actions))).packed
        assert isinstance(packed, Flat) if packs else not packed.shares
        agree(policy, finished, finished.actions.logprob, now(policy, finished, 10**6)[0])


def test_neighbours_and_padding_change_nothing(opened):
    policy = opened("gpt2")
    finished, _ = policy.sample(asked())
    together, _ = now(policy, finished, 10**6)
    gap = room(lambda moved: moved_now(policy, finished, moved)[0])
    for row in range(len(finished)):
        alone = finished.take(torch.tensor([row]))
        assert (now(policy, alone)[0] - together[finished.owner == row]).abs().max() <= gap


def test_chunked_log_probs_are_the_same_with_gradients(opened, monkeypatch):
    policy = opened("qwen2", temperature=0.8, top_p=0.9)
    finished, _ = policy.sample(asked())
    piece = [torch.arange(len(finished.actions))]
    whole, values = gradients(policy, finished, piece), torch.stack(now(policy, finished, 10**6))
    gap = room(lambda moved: moved_now(policy, finished, moved))
    monkeypatch.setattr(forward, "HELD", 0)
    for chunk in (61, 61 * 7, 61 * 50):
        monkeypatch.setattr(forward, "CHUNK", chunk)
        monkeypatch.setattr(here, "CHUNK", chunk)
        assert (torch.stack(now(policy, finished, 10**6)) - values).abs().max() <= gap
        assert relative(gradients(policy, finished, piece), whole) < rounding(policy)


def test_the_gradient_of_tied_embeddings_is_that_of_dense_ones_and_dense(folders, tmp_path, monkeypatch):
    model = tiny("llama", tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folders["llama"]).save_pretrained(tmp_path)
    policy = Language(model=str(tmp_path), max_new_tokens=12).open()
    finished, _ = policy.sample(asked())
    pieces = list(policy.batches(finished, everything(finished), 40))
    found = gradients(policy, finished, pieces)
    assert policy.model.get_input_embeddings().sparse and not policy.model.lm_head.weight.grad.is_sparse
    monkeypatch.setattr(policy.forward, "sharded", True)  # ranks add up dense gradients
    assert relative(found, gradients(policy, finished, pieces)) < rounding(policy)
    assert not policy.model.get_input_embeddings().sparse


def test_layouts_make_room_while_weights_are_learned_and_come_back_for_the_same_answers(opened):
    policy = opened()
    first, _ = policy.sample(asked())
    assert policy.engine.forward.head.layout.is_mkldnn
    gradients(policy, first, list(policy.batches(first, everything(first), 40)))
    assert policy.engine.forward.head.layout.numel() == 0 and policy.engine._cache is None
    again, _ = policy.sample(asked())
    assert again.text == first.text and torch.equal(again.actions.logprob, first.actions.logprob)


def test_one_forward_serves_every_question(opened, monkeypatch):
    policy = opened()
    finished, _ = policy.sample(asked())
    gap = room(lambda moved: moved_now(policy, finished, moved))
    calls = []
    hidden = policy.forward.hidden
    monkeypatch.setattr(policy.forward, "hidden", lambda *args: calls.append(1) or hidden(*args))
    at = policy.at(finished, torch.arange(9))
    assert at.logits.shape == (9, 61)
    law = at.logits.log_softmax(-1)
    assert (at.logprob - law.gather(1, finished.actions.token[:9, None]).squeeze(1)).abs().max() <= gap
    assert (at.entropy + (law.exp() * law).sum(-1)).abs().max() <= gap
    assert len(calls) == 1
    with pytest.raises(TypeError, match="no differentiable output"):
        _ = at.output


# turns


def test_all_end_tokens_end_a_turn_and_padding_does_not(folders, tmp_path):
    model = tiny("llama")
    model.generation_config.eos_token_id = [9, 11]
    model.config.eos_token_id = 12
    model.save_pretrained(tmp_path)
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folders["llama"]).save_pretrained(tmp_path)
    policy = Language(model=str(tmp_path), max_new_tokens=12).open()
    assert policy.eos == {2, 9, 11, 12}
    finished, _ = policy.sample(asked(n=30))
    lasts = finished.actions.token[finished.last].tolist()
    assert {"stop", "length"} == set(finished.status)
    for token, status, length in zip(lasts, finished.status, finished.length.tolist(), strict=True):
        assert (status == "stop") == (token in policy.eos)
        assert status == "stop" or length == 12
    inner = torch.ones(len(finished.actions), dtype=torch.bool)
    inner[finished.last] = False
    assert not set(finished.actions.token[inner].tolist()) & policy.eos
    assert 0 in finished.actions.token[inner].tolist(), "pad is an ordinary token to the sampler"
    assert {2, 9, 11, 12} & set(lasts), "the end token is an action, and is learned"
    assert not any(end in text for text in finished.text for end in ("<eos>", "<pad>"))


def test_pad_that_is_the_end_token_is_still_learned(folders, tmp_path):
    from transformers import AutoTokenizer

    tiny("llama").save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folders["llama"])
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    policy = Language(model=str(tmp_path), max_new_tokens=12).open()
    finished, _ = policy.demonstrate(asked([{"prompt": "ab", "completion": "c"}], n=1))
    assert finished.actions.token.tolist() == [*tokenizer("c")["input_ids"], 2]
    weight = gradients(policy, finished, [torch.tensor([1])])
    assert weight.abs().sum() > 0


def test_stop_strings_and_limits(opened):
    policy = opened(stop=("a", "b"))
    finished, _ = policy.sample(asked(n=20))
    last = [policy.decode([int(token)]) for token in finished.actions.token[finished["last"]]]
    ended = [status for status, piece in zip(finished.status, last, strict=True) if piece in "ab"]
    assert len(ended) > 5 and set(ended) == {"stop"}
    assert not any({"a", "b"} & set(text) for text in finished.text), "judges see what stands before it"


def test_the_budget_column_is_respected(opened):
    policy = opened()
    requests = asked(n=4)
    budget = torch.tensor([1, 3, -1, 20] * 4)
    finished, _ = policy.sample(requests.put(budget=budget))
    ordinary, _ = policy.sample(requests)
    allowed = torch.where(budget < 0, 12, budget)
    assert (finished.length <= allowed).all()
    cut = torch.tensor([status == "length" for status in finished.status])
    assert (finished.length[cut] == allowed[cut]).all() and finished.length[cut].max() == 20
    for short, whole in zip(finished.text, ordinary.text, strict=True):
        assert short.startswith(whole) or whole.startswith(short)


def test_prompts_that_cannot_be_sampled_are_named(opened):
    policy = opened()
    with pytest.raises(
        ValueError, match="prompt of data row 1 has 128 tokens, but the model reads at most 128"
    ):
        policy.sample(asked(["a", "b" * 128]))
    with pytest.raises(ValueError, match="data row 1 has 130 tokens"):
        policy.demonstrate(asked([{"prompt": "a" * m, "completion": "c"} for m in (1, 130)]))
    with pytest.raises(ValueError, match="data row 0: 'prompt' is empty"):
        policy.sample(asked([""]))
    with pytest.raises(ValueError, match="data row 0: 'prompt' is empty"):
        policy.demonstrate(asked([{"prompt": "", "completion": "c"}]))
    near, _ = policy.sample(asked(["a" * 125], n=8))
    assert near.length.max() == 3, "the model's window bounds a rollout too"
    demonstrated, _ = policy.demonstrate(asked([{"prompt": "a" * 125, "completion": "bcdef"}], n=1))
    assert demonstrated.length.tolist() == [3] and demonstrated.status == ["length"]
    later = asked().put(context=[((0, "a"), (3, "reply"))] * 12)
    with pytest.raises(ValueError, match="a prompt at depth 0 and nothing later"):
        policy.sample(later)


def test_greedy_takes_the_likeliest_and_leaves_the_law_as_it_was(opened):
    policy = opened(temperature=0.9)
    with policy.greedy():
        one, _ = policy.sample(asked(n=2))
        again, _ = policy.sample(asked(n=2, seed=8))
        for piece in policy.batches(one, everything(one), 10**6):
            assert policy.at(one, piece).logits.argmax(-1).equal(one.actions.token[piece])
    assert one.text == again.text
    assert policy.law.temperature == 0.9
    sampled, _ = policy.sample(asked(n=2))
    assert sampled.text != one.text
    with pytest.raises(RuntimeError), policy.greedy():
        raise RuntimeError
    assert policy.law.temperature == 0.9


# partial rollouts


def test_an_unfinished_rollout_goes_on_under_newer_weights_and_keeps_what_it_has(opened):
    policy = opened("qwen3", max_new_tokens=20)
    requests = asked(PROMPTS, n=2, enough=1)
    requests = requests.put(budget=torch.tensor([4, 4, -1, -1, -1, -1, -1, -1]))
    finished, unfinished = policy.sample(requests)
    assert len(unfinished) and set(unfinished.columns) == set(requests.columns)
    assert set(unfinished.status) == {"aborted"}
    old = unfinished.actions
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.05)
    policy.updated()
    resumed, rest = policy.sample(unfinished.put_facts(enough=None))
    assert len(rest) == 0 and resumed.id.tolist() == unfinished.id.tolist()
    kept = torch.cat(
        [
            torch.arange(length) < before
            for length, before in zip(resumed.length, unfinished.length, strict=True)
        ]
    )
    for name in ("token", "version", "logprob"):
        assert torch.equal(resumed.actions[name][kept], old[name])
    assert resumed.actions.version[kept].eq(0).all() and resumed.actions.version[~kept].eq(1).all()
    new = ~kept
    assert new.any()
    gap = room(lambda moved: moved_now(policy, resumed, moved)[0])
    assert (now(policy, resumed)[0] - resumed.actions.logprob)[new].abs().max() <= gap
    assert (now(policy, resumed)[0] - resumed.actions.logprob)[kept].abs().max() > 1e-4
    assert (resumed.length <= 20).all()


def test_with_weights_standing_still_an_interruption_cannot_be_seen(opened):
    policy = opened("gemma3_text", max_new_tokens=20)
    budget = torch.tensor([3, 7, 5, 6, 2, 9, 20, 20, 20, 20, 20, 20])
    whole, _ = policy.sample(asked(PROMPTS, n=3).put(budget=budget))
    finished, unfinished = policy.sample(asked(PROMPTS, n=3, enough=2).put(budget=budget))
    assert len(unfinished)
    rest, _ = policy.sample(unfinished.put_facts(enough=None))
    joined = type(whole).join([finished, rest])
    joined = joined.take(joined.id.argsort())
    assert joined.text == whole.text and joined.status == whole.status
    assert torch.equal(joined.actions.token, whole.actions.token)
    agree(policy, whole, whole.actions.logprob, joined.actions.logprob)


def test_enough_of_all_groups_waits_for_all(opened):
    policy = opened()
    finished, unfinished = policy.sample(asked(enough=4))
    assert len(unfinished) == 0 and len(finished) == 12


def test_when_everything_was_aborted_nothing_is_finished(opened, monkeypatch):
    policy = opened()
    none = Reply((), np.empty(0, dtype=np.float32), "aborted")
    monkeypatch.setattr(policy.engine, "generate", lambda requests, *rest: [none] * len(requests))
    finished, unfinished = policy.sample(asked())
    assert len(finished) == 0 and len(unfinished) == 12 and finished.text == []


# annotate


def test_annotate_writes_where_actions_are_kept(opened):
    policy = opened(temperature=0.7)
    finished, _ = policy.sample(asked())
    share = (torch.arange(len(finished.actions)) % 3 != 0).float()
    finished = finished.put_actions(share=share)
    policy.keep_reference()
    with torch.no_grad():
        policy.model.lm_head.weight.mul_(1.1)
    gap = room(lambda moved: moved_now(policy, finished, moved))
    written = policy.annotate(finished, ["entropy", "proximal", "reference"]).actions
    logprob, entropy = now(policy, finished)
    kept = share > 0
    for name, expected in {
        "entropy": entropy,
        "proximal": logprob,
        "reference": finished.actions.logprob,
    }.items():
        assert (written[name] - expected)[kept].abs().max() <= gap
        assert written[name][~kept].isnan().all() and not written[name].requires_grad
    assert (written.proximal - written.reference)[kept].abs().max() > 1e-3


def test_a_reference_nobody_kept_is_an_error(opened):
    policy = opened()
    finished, _ = policy.sample(asked())
    with pytest.raises(ValueError, match="keeps no reference"):
        policy.annotate(finished, ["reference"])


# demonstrations


def test_demonstrations_are_rollouts_somebody_else_made(opened):
    policy = opened(max_new_tokens=4)
    rows = [{"prompt": "ab", "completion": "cd"}, {"prompt": "x", "completion": "hello"}]
    finished, unfinished = policy.demonstrate(asked(rows, n=1))
    ids = policy.tokenizer("cd")["input_ids"], policy.tokenizer("hell")["input_ids"]
    assert finished.actions.token.tolist() == [*ids[0], 2, *ids[1]]
    assert finished.status == ["stop", "length"] and finished.text == ["cd", "hell"]
    assert finished.actions.version.eq(-1).all() and finished.actions.logprob.isnan().all()
    assert len(unfinished) == 0
    with pytest.raises(ValueError, match="data row 0 has no 'completion' to learn from; its columns: prompt"):
        policy.demonstrate(asked(["a"]))


def test_supervised_loss_is_transformers_own(opened):
    for name in ("llama", "gemma2", "gpt2"):
        policy = opened(name)
        rows = [{"prompt": "abcd", "completion": "hello"}, {"prompt": "x", "completion": "01"}]
        finished, _ = policy.demonstrate(asked(rows, n=1))
        actions = torch.arange(len(finished.actions))
        loss, _ = Supervised()(policy.at(finished, actions), finished, actions)
        ours = loss.mean()
        ours.backward()
        mine = torch.cat([w.grad.flatten() for w in policy.model.parameters()])
        policy.model.zero_grad()
        total = 0.0
        for row in rows:
            prompt = policy.tokenizer(row["prompt"])["input_ids"]
            ids = [*prompt, *policy.tokenizer(row["completion"])["input_ids"], 2]
            labels = [-100] * len(prompt) + ids[len(prompt) :]
            out = policy.model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]))
            part = out.loss * (len(ids) - len(prompt)) / len(actions)
            part.backward()
            total += float(part.detach())
        theirs = torch.cat([w.grad.flatten() for w in policy.model.parameters()])
        assert abs(ours.item() - total) < rounding(policy) * max(1.0, total)
        assert relative(mine.double(), theirs.double()) < rounding(policy)


@pytest.mark.parametrize("estimator", ["exact", "sample"])
def test_one_token_rollouts_do_not_depend_on_the_cut(opened, estimator):
    policy = opened()
    rows = [{"prompt": p, "completion": c} for p, c in (("ab", "hello"), ("x", "012"), ("ab", "no"))]
    finished, _ = policy.demonstrate(asked(rows, n=1))
    objective = OneToken(estimator=estimator)

    def gradient(pieces):
        policy.model.zero_grad(set_to_none=True)
        for piece in pieces:
            objective(policy.at(finished, piece), finished, piece)[0].sum().backward()
        return torch.cat([w.grad.flatten().double() for w in policy.model.parameters()])

    whole = gradient([torch.arange(len(finished.actions))])
    for budget in (1, 12):
        assert relative(gradient(policy.batches(finished, everything(finished), budget)), whole) < rounding(
            policy
        )
