"""A vision-language policy at work: a language policy whose prompts show pictures.

Pictures are context and tokens are actions, so all but the prompts is the language policy's: the engine reads
a picture once for a group, packed rows hold it once, and no token that stands for a picture is ever sampled.
When it is opened it is tried on a picture: engine and learner must compute what the model itself does.
"""

import base64
import io
from typing import Any

import torch

from oneloop.core.rollouts import Rollouts
from oneloop.engines.law import FORBIDDEN
from oneloop.engines.request import Request
from oneloop.sample.policies.pictures.opened import opened
from oneloop.sample.policies.pictures.prompts import PicturePrompts
from oneloop.sample.policies.pictures.rows import marked_messages, marked_text
from oneloop.sample.policies.tokens.forward import base_model, chosen_logprob
from oneloop.sample.policies.tokens.lora import vision_tower
from oneloop.sample.policies.tokens.packing import Prompt, pack
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from oneloop.sample.policies.vision_language import VisionLanguage

THUMBNAIL = 96
"""Pixels of the longer side of a picture in the record."""


class VisionLanguagePolicy(LanguagePolicy):
    """The model being trained, its engine, and its processor."""

    prompts: PicturePrompts

    def __init__(self, options: VisionLanguage):
        super().__init__(options)
        tower = vision_tower(base_model(self.model))
        if options.freeze_vision and tower and options.lora is None:
            base_model(self.model).get_submodule(tower).requires_grad_(False)
        try:
            self._try_a_picture()
        except ValueError as error:
            raise ValueError(f"{options.kind.option}: {error}") from error
        self._thumbnails: dict[int, tuple[Any, str]] = {}

    @torch.no_grad()
    def _try_a_picture(self) -> None:
        """Compares engine and learner with the model, on one picture and two answers."""
        prompt, made = self._blank()
        token = min(set(range(8)) - self.prompts.never)
        answers = [[token, token, token], [token] * 3]
        given = {name: made[name].to(self.forward.device) for name in made if name != "attention_mask"}
        ids = torch.cat([made["input_ids"], torch.tensor([answers[0][:-1]])], 1).to(self.forward.device)
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in given:
                more = given[name].new_zeros(1, ids.shape[1] - given[name].shape[1])
                given[name] = torch.cat([given[name], more], 1)
        with self.forward.precision():
            logits = self.model(**{**given, "input_ids": ids}, use_cache=False).logits[0, -3:].float()
        expected = logits.index_fill(-1, self.forward.never, FORBIDDEN).log_softmax(-1)
        scale = 1e-4 if self.forward.device.type == "cpu" and not self.forward.autocast else 0.1
        for width in (self.forward.width, 0):
            packed = pack([prompt] * 2, answers, width)
            sequence, depth = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2] * 2)
            whole = self.forward.head(self.forward.hidden(packed, sequence, depth)).float()
            gap = float((whole.softmax(-1) - torch.cat([expected] * 2).exp()).abs().max())
            if gap <= scale:
                break
            self.forward.width = 0  # it must see each sequence alone
        else:
            raise ValueError(
                f"its probabilities after a picture are off by {gap:.3g} in the learner: its attention over "
                "pictures is not causal, or it takes inputs that are not known here"
            )
        self._try_engine(prompt, answers[0][:2])

    def _blank(self) -> tuple[Prompt, Any]:
        """A prompt with one grey picture, and what the processor makes of it."""
        from PIL import Image

        picture = Image.new("RGB", (64, 48), (90, 120, 150))
        text = self.prompts.processor.image_token
        prompt = self.prompts.read(text, "a picture on trial", {"image": picture})
        options = self.prompts.options(self.prompts.count)
        made = self.prompts.processor(text=[text], images=[picture], **options)
        front = len(prompt.ids) - made["input_ids"].shape[1]
        ids, features = prompt.ids[front:], prompt.features
        return Prompt(ids, features), made

    def _try_engine(self, prompt: Prompt, partial: list[int]) -> None:
        """Compares the log-prob of a token that the engine draws with the learner's."""
        request = Request(1, 0, prompt.ids, len(partial) + 2, tuple(partial), prompt.features)
        reply = self.engine.generate([request])[0]
        packed = pack([prompt], [[*partial, *reply.tokens]], 0)
        depth = torch.arange(len(reply.tokens)) + len(partial)
        hidden = self.forward.hidden(packed, torch.zeros_like(depth), depth)
        tokens = torch.tensor(reply.tokens, device=self.forward.device)
        wanted, _ = chosen_logprob(self.forward.head(hidden), tokens, self.law)
        gap = float((wanted.cpu() - torch.from_numpy(reply.logprobs.copy())).abs().max())
        narrow = self.options.sampling_precision == "bf16" or self.options.precision != "float32"
        if gap > (0.5 if narrow else 1e-3):
            raise ValueError(f"its log-probs after a picture are off by {gap:.3g} in the sampling engine")

    def prompt(self, rollouts: Rollouts, row: int) -> Prompt:
        """What the tokens of one row follow, its pictures in as many tokens as its row says."""
        count = int(rollouts.image_tokens[row]) if "image_tokens" in rollouts else None
        return self.prompts.read(*self.said(rollouts, row), count)

    # what the report shows

    def _with_text(self, rollouts: Rollouts, stop: Any = ()) -> Rollouts:
        written = super()._with_text(rollouts, stop)
        shown = [self._thumbnail(example) for example in rollouts.example]
        return written.put(shown=shown)

    def _thumbnail(self, example: Any) -> str:
        """The pictures of a prompt side by side; empty without any."""
        known = self._thumbnails.get(id(example))
        if known is None or known[0] is not example:
            if len(self._thumbnails) > 512:
                self._thumbnails.clear()
            known = (example, thumbnail(example["prompt"], example, self.prompts.processor.image_token))
            self._thumbnails[id(example)] = known
        return known[1]


def thumbnail(prompt: Any, row: Any, mark: str) -> str:
    """The pictures of a data row side by side, a PNG file as base64 text; empty without any."""
    from PIL import Image

    _, pictures = marked_text(prompt, mark, row) if isinstance(prompt, str) else marked_messages(prompt, row)
    if not pictures:
        return ""
    images = [opened(picture, "a picture of the record") for picture in pictures]
    for image in images:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
    whole = Image.new("RGB", (sum(image.width for image in images), max(image.height for image in images)))
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width
    file = io.BytesIO()
    whole.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
