"""Each protocol is implemented here from its own text alone, by classes that inherit nothing, and trained."""

from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from oneloop.core import draws, protocols
from oneloop.core.memory import MemoryRow, Needs
from oneloop.core.meter import Meter
from oneloop.core.part import part
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.engines.request import Reply
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from tests.support.training import JUDGE

HERE = "tests.core.test_protocols"


# what a recipe names


@part()
class Letters:
    """Data."""

    def __len__(self):
        return 6

    def __getitem__(self, key):
        return {"prompt": "abc"[key % 3], "completion": "ab", "answer": "ab"}


@part()
class Pairs:
    """Count."""

    n: int = 2
    rounds: int = 1

    def more(self, groups):
        return torch.where(groups["round"] == 0, self.n, 0)


@part(reads=("reward",))
class NotAllWrong:
    """Keep."""

    def keeps(self, group):
        return bool(group.reward.max() > -9)


@part(writes=("budget",))
class Shorter:
    """Dress, and remembering: it counts what it has seen."""

    seen: ClassVar[list[int]] = []

    def __call__(self, rollouts):
        return rollouts.put(budget=torch.full((len(rollouts),), 3))

    def begin(self):
        self.seen.clear()

    def learn(self, judged):
        self.seen.append(len(judged))
        return judged

    def state_dict(self):
        return {"seen": list(self.seen)}

    def load_state_dict(self, state):
        self.seen[:] = state["seen"]


@part(reads=("text",), writes=("reward.first",))
class FirstLetter:
    """Judge: 1 where the text begins with a."""

    name: str = "first"

    def __call__(self, rollouts):
        scores = [float(text.startswith("a")) for text in rollouts.text]
        return rollouts.put({"reward.first": torch.tensor(scores, dtype=torch.float64)})


@part(reads=("reward",), writes=("actions.advantage",))
class Plain:
    """Credit: the reward itself."""

    def __call__(self, rollouts):
        return rollouts.put_actions(advantage=rollouts.spread(rollouts.reward - 0.5).float())


@part(reads=("actions.share",), writes=("actions.share",))
class Everything:
    """Select."""

    heard: ClassVar[list[int]] = []

    def __call__(self, rollouts):
        return rollouts

    def after_update(self, learner, batch):
        self.heard.append(learner.policy.version)


@part(reads=("actions.advantage",))
class Reinforce:
    """Objective, of five lines."""

    def __call__(self, here, rollouts, actions):
        return -here.logprob * rollouts.actions.advantage[actions], {}


@part()
class LittleLlama:
    """Language model."""

    def build(self):
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        vocabulary = {token: number for number, token in enumerate(["<pad>", "<eos>", "a", "b", "c"])}
        letters = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
        letters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", eos_token="<eos>")
        shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        ends = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = LlamaConfig(vocab_size=5, max_position_embeddings=32, **shape, **ends)
            return LlamaForCausalLM(config), tokenizer


def recipe(policy, **changes):
    raw = {
        "policy": policy,
        "plan": {
            "data": {f"{HERE}.Letters": {}},
            "groups": 2,
            "count": {f"{HERE}.Pairs": {}},
            "keep": {f"{HERE}.NotAllWrong": {}},
            "dress": [{f"{HERE}.Shorter": {}}],
        },
        "judge": [{f"{HERE}.FirstLetter": {}}],
        "credit": [{f"{HERE}.Plain": {}}],
        "select": [{f"{HERE}.Everything": {}}],
        "objective": [{f"{HERE}.Reinforce": {}}],
        "learner": {"learning_rate": 0.02},
        "steps": 4,
        "save_every": 2,
        "evaluate": {"data": {f"{HERE}.Letters": {}}, "size": 3, "samples": 2},
    }
    return load_recipe(raw | changes)[0]


def trained(made, directory, resume=False):
    run = Run(made, directory, resume, Show(quiet=True))
    run.train()
    return run


def test_parts_of_every_kind_train_a_language_model_of_ones_own(tmp_path):
    Everything.heard.clear()
    language = {"language": {"model": {f"{HERE}.LittleLlama": {}}, "max_new_tokens": 4}}
    run = trained(recipe(language), tmp_path / "run")
    assert [line["step"] for line in run.history] == [1, 2, 3, 4] == Everything.heard
    assert all(line["grad_norm"] > 0 and line["completions/max_length"] <= 3 for line in run.history)
    assert sum(Shorter.seen) == 16


# a policy


WRITES = (
    *("last", "status", "text", "actions.parent", "actions.version", "actions.logprob"),
    *("actions.token", "actions.share"),
)


@part(writes=WRITES)
class Table:
    """A policy that knows no prompt: a law of its own for each of three letters."""

    units: ClassVar[dict[str, str]] = {"logprob": "nats", "entropy": "discrete"}
    gives: ClassVar[tuple[str, ...]] = ("entropy", "proximal", "reference")

    def outline(self):
        return TableOutline()

    def open(self, weights=None):
        policy = TablePolicy()
        if weights is not None:
            policy.restore(Path(weights), policy.state_dict())
        return policy


class TableOutline:
    def notes(self, demands):
        return []

    def check_row(self, row, where, demonstrated):
        pass

    def memory(self, demands):
        return Needs((MemoryRow("weights", 36, "nine numbers"),), "cpu", "")


class TablePolicy:
    LENGTH = 3
    units, gives = Table.units, Table.gives

    def __init__(self):
        self.model, self.version, self.meter, self.progress = nn.Embedding(3, 3), 0, Meter(), None
        nn.init.zeros_(self.model.weight)
        self._greedy, self._reference = False, None

    @property
    def law(self):
        return self.model.weight.log_softmax(1)

    def sample(self, asked):
        n, law = len(asked), self.law.detach()
        keys = draws.mix(asked.facts["seed"], asked.id.numpy())
        uniforms = torch.from_numpy(draws.uniforms(keys[:, None], np.arange(self.LENGTH)[None]))
        below = (law.exp().double().cumsum(1)[None] < uniforms[..., None]).sum(2).clamp(max=2)
        token = law.argmax(1).expand(n, -1) if self._greedy else below
        return self._finished(asked, token, self.version, law[torch.arange(3), token])

    def demonstrate(self, asked):
        token = torch.tensor([["abc".index(c) for c in row["completion"]] for row in asked.example])
        return self._finished(asked, token, -1, torch.zeros(token.shape))

    def _finished(self, asked, token, version, logprob):
        n, length = token.shape
        last = torch.arange(1, n + 1) * length - 1
        parent = torch.where(torch.arange(n * length) % length == 0, -1, torch.arange(n * length) - 1)
        texts = ["".join("abc"[i] for i in row) for row in token.tolist()]
        table = {
            "parent": parent,
            "token": token.flatten(),
            "version": torch.full((n * length,), version),
            "logprob": logprob.flatten().float(),
            "share": torch.ones(n * length),
        }
        columns = {**asked.columns, "last": last, "status": ["stop"] * n, "text": texts}
        finished = Rollouts(columns, Actions(table), asked.facts)
        return finished, finished.take(torch.zeros(0, dtype=torch.long))

    @contextmanager
    def greedy(self):
        self._greedy = True
        yield
        self._greedy = False

    def decode(self, tokens):
        return "".join("abc"[i] for i in tokens)

    def prompt_room(self, prompt, example):
        return None

    def annotate(self, rollouts, columns):
        here = self.at(rollouts, torch.arange(len(rollouts.actions)))
        found = {"entropy": here.entropy, "proximal": here.logprob, "reference": here.reference}
        return rollouts.put_actions({name: found[name].detach() for name in columns})

    def batches(self, rollouts, wanted, budget):
        yield from wanted.nonzero().squeeze(1).split(max(1, budget))

    def at(self, rollouts, actions):
        return TableHere(self, rollouts.actions.token[actions], rollouts.depth[actions])

    def keep_reference(self):
        self._reference = self.law.detach()

    def updated(self):
        self.version += 1

    def save(self, folder):
        save_file({"weight": self.model.weight.detach().clone()}, folder / "table.safetensors")

    def state_dict(self):
        return {"version": self.version, "reference": self._reference}

    def restore(self, folder, state):
        with torch.no_grad():
            self.model.weight.copy_(load_file(folder / "table.safetensors")["weight"])
        self.version, self._reference = state["version"], state["reference"]


class TableHere:
    def __init__(self, policy, token, depth):
        self.law, self._token, self._depth = policy.law, token, depth
        self._reference = policy._reference
        self.logits = policy.model.weight[depth]

    @property
    def logprob(self):
        return self.law[self._depth, self._token]

    @property
    def entropy(self):
        return -(self.law * self.law.exp()).sum(1)[self._depth]

    @property
    def reference(self):
        return self._reference[self._depth, self._token]


def test_a_policy_of_ones_own_trains_and_resumes_to_the_bit(tmp_path, monkeypatch):
    policy = {f"{HERE}.Table": {}}
    own = {"objective": [{f"{HERE}.Reinforce": {}}, {"kl": {"coefficient": 0.01}}], "steps": 12}
    whole = trained(recipe(policy, **own), tmp_path / "whole")
    learned = whole.policy.law.exp()[0].tolist()
    assert learned[0] > 0.38, "a is what is rewarded"
    assert whole.history[-1]["kl"] > 0 and whole.policy.version == 12
    calls = FirstLetter.__call__

    def dies(self, rollouts):
        if len(list((tmp_path / "cut").glob("checkpoint-*"))) >= 2:
            raise KeyboardInterrupt
        return calls(self, rollouts)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FirstLetter, "__call__", dies)
        trained(recipe(policy, **own), tmp_path / "cut")
    resumed = trained(recipe(policy, **own), tmp_path / "cut", resume=True)
    assert torch.equal(resumed.policy.model.weight, whole.policy.model.weight)
    again = resumed.recipe.policy.open(str(tmp_path / "cut" / "checkpoint-12"))
    assert torch.equal(again.model.weight, whole.policy.model.weight)


# engines and networks


class OneByOne:
    """An engine that asks the model anew for every token of every request."""

    def __init__(self, model, law, eos):
        self.model, self.law, self.eos, self.positions, self.refreshed = model, law, eos, 32, 0

    @torch.no_grad()
    def generate(self, requests, enough=None, progress=None):
        return [self._reply(request) for request in requests]

    def _reply(self, request):
        tokens, logprobs, status = list(request.partial), [], "length"
        while len(tokens) < request.limit:
            ids = torch.tensor([[*request.prompt, *tokens]])
            law = (self.model(ids).logits[0, -1] / self.law.temperature).log_softmax(0)
            uniform = draws.uniforms(np.uint64(request.key), np.int64(len(tokens)))
            token = int((law.exp().double().cumsum(0) < float(uniform)).sum().clamp(max=len(law) - 1))
            tokens.append(token)
            logprobs.append(float(law[token]))
            if token in self.eos:
                status = "stop"
                break
        sampled = tuple(tokens[len(request.partial) :])
        return Reply(sampled, np.array(logprobs, dtype=np.float32), status)

    def refresh(self):
        self.refreshed += 1


def test_an_engine_of_ones_own_samples_what_the_built_in_one_samples():
    language = {"language": {"model": {f"{HERE}.LittleLlama": {}}, "max_new_tokens": 4}}
    made = recipe(language)
    made.phases["train"].plan.begin(7, 4)
    asked = made.phases["train"].plan.ask()
    policy = made.policy.open()
    wanted, _ = policy.sample(asked)
    policy.engine = OneByOne(policy.model, policy.law, policy.eos)
    found, _ = policy.sample(asked)
    assert found.actions.token.tolist() == wanted.actions.token.tolist() and found.status == wanted.status
    # two ways to the same products: rounding of a sum of 16 numbers of size 1
    torch.testing.assert_close(found.actions.logprob, wanted.actions.logprob, atol=16 * 2**-23, rtol=1e-6)
    policy.updated()
    assert policy.engine.refreshed == 1


class Linear(nn.Module):
    """A flow network: one matrix."""

    shape = picture = (1, 8, 8)
    tokens, units = 1, 64

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(0.1 * torch.eye(64))

    def encode(self, rows):
        return {"label": torch.tensor([float(row["label"]) for row in rows])}

    def forward(self, latent, sigma, condition):
        shift = (condition["label"] + sigma)[:, None] / 100
        return (latent.flatten(1) @ self.matrix + shift).view_as(latent)

    def decode(self, latent):
        return (latent / 2 + 0.5).clamp(0, 1)

    def latent(self, images):
        return images * 2 - 1

    def save(self, folder):
        save_file({"matrix": self.matrix.detach().clone()}, folder / "matrix.safetensors")

    def load(self, folder):
        with torch.no_grad():
            self.matrix.copy_(load_file(folder / "matrix.safetensors")["matrix"])


@part()
class LinearModel:
    """Flow model."""

    def build(self):
        return Linear()


def test_a_network_of_ones_own_draws_and_is_trained(tmp_path):
    brightness = JUDGE.replace(":Likeness", ":Brightness")
    raw = {
        "policy": {"flow": {"model": {f"{HERE}.LinearModel": {}}, "steps": 4}},
        "plan": {"data": "digits", "groups": 2, "count": {"uniform": {"n": 4}}},
        "judge": [brightness],
        "credit": ["group_relative"],
        "objective": ["policy_gradient"],
        "learner": {"learning_rate": 0.001},
        "steps": 2,
    }
    run = trained(load_recipe(raw)[0], tmp_path / "run")
    assert all(line["grad_norm"] > 0 for line in run.history)
    assert load_file(tmp_path / "run" / "checkpoint-2" / "matrix.safetensors")["matrix"].shape == (64, 64)


@pytest.mark.parametrize(
    ("made", "protocol"),
    [
        (TablePolicy(), protocols.Policy),
        (TableOutline(), protocols.PolicyOutline),
        (OneByOne(None, None, ()), protocols.Engine),
        (Linear(), protocols.FlowNetwork),
    ],
)
def test_nothing_that_a_protocol_names_is_missing_here(made, protocol):
    wanted = [*vars(protocol).get("__annotations__", {}), *vars(protocol)]
    assert not [name for name in wanted if not name.startswith("_") and not hasattr(made, name)]
