"""TokenFLEX: one model for any number of visual tokens against a model for each (arXiv 2504.03154).

A picture is four of scikit-learn's digits, 2 x 2, and all four are read. A small convolutional tower gives
4 x 4 features, `TokenAdaptiveProjector` makes 1, 4 or 16 tokens of them, and a transformer reads these.
Digits of the test split are in no picture that is learned from; pictures are laid out anew at every step.

    flexible         one model; each batch draws 1, 4 or 16 tokens alike
    a third each     three models, one for each number of tokens, with a third of the steps each
    all steps each   three models with as many steps each as the flexible one has: the paper's comparison, at
                     three times the work

All models of an arm have that arm's learning rate. `mean` is over the three numbers of tokens, each read by
the model that is made for it; `one for all` is the mean of the arm's best single model over all three;
`unseen` is accuracy at 9 tokens, by the flexible model, or by the one made for 16. Accuracy is of single
digits, greedy; nothing is sampled here. Not here: a pretrained model, text, the paper's benchmarks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu

from benchmarks.claims.claim import Arm, Claim, Row, Rows
from oneloop.core import draws
from oneloop.core.budgets import BudgetSampler
from oneloop.models.flexible_vlm.projector import TokenAdaptiveProjector
from oneloop.sample.data.digits import load, rows_of

BUDGETS, UNSEEN = (1, 4, 16), 9
WIDTH, STEPS, BATCH, TESTED = 32, 300, 32, 500
RATES = (1e-3, 3e-3, 1e-2, 3e-2)


class Reader(nn.Module):
    """Logits [b, 4, 10] of pictures [b, 1, 16, 16], through as many visual tokens as are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.edges, self.patches = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, WIDTH, 4, 4)
        self.projector = TokenAdaptiveProjector(WIDTH, WIDTH, max(BUDGETS))
        self.places = nn.Linear(2, WIDTH)
        self.asked = nn.Parameter(0.02 * torch.randn(4, WIDTH))
        self.block = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, pictures: Tensor, tokens: int) -> Tensor:
        """Logits."""
        features = self.patches(gelu(self.edges(pictures))).flatten(2).transpose(1, 2)
        side = round(tokens**0.5)
        middle = (torch.arange(side) + 0.5) / side
        seen = self.projector(features, tokens) + self.places(torch.cartesian_prod(middle, middle))
        read = self.block(torch.cat([self.asked.expand(len(seen), -1, -1), seen], 1))[:, :4]
        logits: Tensor = self.head(read)
        return logits


def pictures(split: str, count: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """(pictures [count, 1, 16, 16], their digits [count, 4], row by row)."""
    images, labels = (torch.from_numpy(each)[rows_of(split)] for each in load())
    random = torch.Generator().manual_seed(int(draws.mix(seed, split, step) >> 1))
    chosen = torch.randint(len(images), (count, 2, 2), generator=random)
    laid = images[chosen][:, :, :, 0].permute(0, 1, 3, 2, 4).reshape(count, 1, 16, 16)
    return laid, labels[chosen].flatten(1).long()


def learned(budgets: Sequence[int], steps: int, rate: float, seed: int) -> Reader:
    """A model that learned from `steps` batches, each through a number of tokens drawn from `budgets`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Reader()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    sampler = BudgetSampler(budgets, seed=seed)
    for step in range(steps):
        shown, digits = pictures("train", BATCH, seed, step)
        loss = cross_entropy(model(shown, sampler.next()).flatten(0, 1), digits.flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: Reader, tokens: int, seed: int) -> float:
    """Share of digits that are read rightly, in pictures of digits that nobody has learned from."""
    shown, digits = pictures("test", TESTED, seed, 0)
    return float((model(shown, tokens).argmax(-1) == digits).double().mean())


def train(arm: str, rate: float, seed: int) -> Row:
    """Accuracy at each number of tokens by the arm's model for it."""
    if arm == "flexible":
        models = [learned(BUDGETS, STEPS, rate, seed)] * len(BUDGETS)
    else:
        steps = STEPS // len(BUDGETS) if arm == "a third each" else STEPS
        models = [learned((budget,), steps, rate, seed) for budget in BUDGETS]
    own = {
        f"at {budget}": accuracy(model, budget, seed) for model, budget in zip(models, BUDGETS, strict=True)
    }
    for_all = max(sum(accuracy(model, budget, seed) for budget in BUDGETS) / len(BUDGETS) for model in models)
    return own | {
        "mean": sum(own.values()) / len(own),
        "one for all": for_all,
        "unseen": accuracy(models[-1], UNSEEN, seed),
        "work": float(STEPS * BATCH * (len(BUDGETS) if arm == "all steps each" else 1)),
    }


def headline(rows: Rows) -> float:
    """Mean accuracy of the flexible model less that of three models with as many steps in all."""
    return rows["flexible"]["mean"] - rows["a third each"]["mean"]


CLAIM = Claim(
    paper="arXiv 2504.03154",
    parts=("flexible_llava", "draw_budget"),
    recipe="tokenflex",
    says="one model is 1.6, 1.0 and .4 points above models trained for 64, 144 and 256 tokens alone",
    claim="the mean accuracy over 1, 4 and 16 visual tokens of one flexible model is above that of a model "
    "for each number, at as many pictures in all, by",
    target=0.0,
    only_under="training too short to converge",
    arms=tuple(Arm(name, RATES) for name in ("flexible", "a third each", "all steps each")),
    train=train,
    score=lambda row: row["mean"],
    work="pictures learned from",
    headline=headline,
)
