"""Checks of a language policy before its weights are loaded: is the model supported, does the data fit it.

A model of the same kind with two layers and random weights is tried where it is small enough.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from oneloop.core.memory import Needs
from oneloop.core.protocols import Demand
from oneloop.engines.slots import SlotEngine
from oneloop.engines.twin import context_window, unwrapped
from oneloop.models.seeded import seeded
from oneloop.models.supernet.llama import LlamaSubnets
from oneloop.sample.policies.tokens.chat import checked_messages
from oneloop.sample.policies.tokens.forward import CausalForward
from oneloop.sample.policies.tokens.loading import LANGUAGE, Kind
from oneloop.sample.policies.tokens.memory import LESS, Counted, memory_rows
from oneloop.sample.policies.tokens.rows import Row, TokenRows
from oneloop.sample.policies.tokens.unseen_pictures import unseen

LOOKED_AT = 64
"""Rows of each data set that are checked, evenly spread."""
SMALL = 250_000_000
"""Parameters of the largest model that is built to be tried."""


class LanguageOutline:
    """`PolicyOutline` of a language policy. may_chat: whether its model may have learned to chat before;
    stops: whether there are strings that end a rollout. unheeded: a sentence on what the model's own files
    ask of sampling and this policy does not do.

    Raises ValueError for a kind of model that cannot be sampled and trained here.
    """

    def __init__(
        self,
        counted: Counted,
        may_chat: bool,
        kind: Kind = LANGUAGE,
        subnets: LlamaSubnets | None = None,
        stops: bool = False,
        unheeded: str = "",
    ):
        self.counted, self.may_chat, self.subnets = counted, may_chat, subnets
        self.stops, self.unheeded = stops, unheeded
        self.rows = TokenRows(counted.prompts, supported(counted.model, kind), counted.limit)

    def check_row(self, row: Row, where: str, demonstrated: bool) -> None:
        """As `PolicyOutline` says."""
        self.rows.check_row(row, where, demonstrated)

    def afford(self, flops: int) -> None:
        """See `oneloop.core.protocols.Affording`."""
        if self.subnets is not None:
            self.subnets.within(flops)

    def memory(self, demands: Sequence[Demand]) -> Needs:
        """As `PolicyOutline` says."""
        return Needs(tuple(memory_rows(self.counted, demands)), self.counted.device, LESS)

    def notes(self, demands: Sequence[Demand]) -> list[str]:
        """Sentences on what never ends or is cut, and on prompts that may be meant otherwise."""
        about: dict[str, list[str]] = {}
        for demand in demands:
            for sentence in self._sentences(demand, dict(_spread(demand))):
                about.setdefault(sentence, []).append(demand.name)
        return [f"{', '.join(names)}: {sentence}" for sentence, names in about.items()]

    def _sentences(self, demand: Demand, rows: Mapping[int, Row]) -> Iterator[str]:
        if not demand.sampled:
            yield from self._cut(rows)
        elif self.unheeded:
            yield self.unheeded
        if not self.rows.prompts.eos and not self.stops:
            yield (
                "the model names no end token, so every rollout goes on to max_new_tokens "
                f"({self.rows.limit}); set eos_token in its tokenizer, or name strings that end one in `stop`"
            )
        if demand.sampled and self.rows.window is not None and self.rows.limit >= self.rows.window:
            yield (
                f"max_new_tokens is {self.rows.limit}, but the model reads {self.rows.window} tokens, prompt "
                "and answer together: longer rollouts end there"
            )
        yield from unseen(list(rows.values()), self.rows.prompts.pictures)
        yield from self._turn_tokens(rows)
        template = self.rows.prompts.template
        texts = all(isinstance(row["prompt"], str) for row in rows.values())
        if texts and template.options:
            yield "prompts are text, so chat_template_kwargs do nothing"
        elif texts and self.may_chat and template.tokenizer.chat_template:
            yield (
                "prompts are plain text, but the model has a chat template; if it is a chat model, set "
                "chat: true where the data is named"
            )
        elif rows and not texts and (opening := self._unwritten_opening(rows)):
            yield (
                f"the chat template writes {opening!r} before an answer but not at the end of a prompt, so "
                "answers begin without it; mend its part for add_generation_prompt"
            )

    def _turn_tokens(self, rows: Mapping[int, Row]) -> Iterator[str]:
        """What becomes of turn tokens whose text the data holds."""
        tokens = self.rows.prompts.turn_tokens
        texts, messages = list[str](), list[str]()
        for row in rows.values():
            if not isinstance(row["prompt"], str):
                messages += [tokens.held([dict(turn) for turn in row["prompt"] if isinstance(turn, Mapping)])]
            elif not any(name in row["prompt"] for name in tokens.names if name not in tokens.ends):
                held = f"{row['prompt']}{tokens.without_end(str(row.get('completion') or ''))}"
                texts += [next((end for end in tokens.ends if end in held), "")]
        if named := next(filter(None, messages), ""):
            yield (
                f"{sum(map(bool, messages))} of {len(rows)} rows looked at have {named!r} or another token "
                "of turns in a message; it is written as text, so that the turn goes on"
            )
        if named := next(filter(None, texts), ""):
            yield (
                f"{sum(map(bool, texts))} of {len(rows)} rows looked at have {named!r} within a text; the "
                "model reads its end token there, not these letters"
            )

    def _unwritten_opening(self, rows: Mapping[int, Row]) -> str:
        """What the template puts between a prompt and its answer without being asked for the answer."""
        turns = next(row["prompt"] for row in rows.values() if not isinstance(row["prompt"], str))
        try:
            return self.rows.prompts.template.unwritten_opening(checked_messages(turns))
        except ValueError:  # whoever looks for bad rows says it
            return ""

    def _cut(self, rows: Mapping[int, Row]) -> Iterator[str]:
        cut = []
        for key, row in rows.items():
            try:
                ids, room = self.rows.demonstration(row, f"data row {key}")
            except ValueError:  # whoever looks for bad rows says it
                continue
            cut += [len(ids)] if len(ids) > room else []
        if cut:
            yield (
                f"{len(cut)} of {len(rows)} demonstrations looked at are longer than there is room "
                f"for and lose their end; the longest has {max(cut)} tokens "
                f"(policy.language.max_new_tokens: {self.rows.limit})"
            )


def _spread(demand: Demand) -> Iterator[tuple[int, Row]]:
    """(number, row) of rows that can be read."""
    size = len(demand.data)
    for key in sorted({place * size // LOOKED_AT for place in range(LOOKED_AT)} & set(range(size))):
        try:
            yield key, demand.data[key]
        except ValueError:
            continue


def supported(model: Any, kind: Kind = LANGUAGE) -> int | None:
    """The window of `model`, which has no weights. Raises ValueError when its kind is not supported."""
    plain = unwrapped(model)
    window = context_window(plain)
    small = shrunk(plain.config, kind)
    if small is not None:
        SlotEngine(small, eos=())
        CausalForward(small, autocast=False)
    return window


def shrunk(config: Any, kind: Kind = LANGUAGE) -> Any | None:
    """A model of that kind with two layers and a few tokens; None where none can be made."""
    small = copy.deepcopy(config)
    text = small.get_text_config()
    try:
        layers = text.num_hidden_layers
        for name, value in list(vars(text).items()):
            if isinstance(value, (list, tuple)) and len(value) == layers:  # one value a layer
                setattr(text, name, value[:2])
            elif name.endswith("_token_id"):
                setattr(text, name, None)
        text.num_hidden_layers, text.vocab_size = min(2, layers), min(64, text.vocab_size)
        with torch.device("meta"):
            empty = kind.models.from_config(small, trust_remote_code=False)
        if sum(weight.numel() for weight in empty.parameters()) > SMALL:
            return None
        with seeded(0):
            return kind.models.from_config(small, trust_remote_code=False).eval()
    except Exception:  # a configuration of another form: the model itself is tried when it is loaded
        return None
