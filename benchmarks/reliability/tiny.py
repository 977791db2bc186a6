"""The recipes that ship, cut down until a run takes a second: one block of width 32, three steps a phase."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import ImageFont

from oneloop.core.rooms import part_name
from oneloop.judge.verifier import Verifier
from oneloop.models.flow.one_dm import OneDm
from oneloop.models.judges.ctc_reader import CtcReader, ReaderConfig
from oneloop.models.language.picture_llama import PictureLlama
from oneloop.models.language.small_llama import SmallLlama
from oneloop.models.vision_language.flexible_llava import FlexibleLlava
from oneloop.models.vision_language.small_llava import SmallLlava
from oneloop.recipe import text
from oneloop.recipe.recipe import Recipe, load_recipe
from oneloop.recipe.text import shipped, to_recipe
from oneloop.sample.plan.count.allocate import Allocate
from oneloop.sample.policies.flow import Flow
from oneloop.sample.policies.image_tokenizer import ImageTokenizer
from oneloop.sample.policies.vision_language import VisionLanguage

LIKENESS = f"{Path(__file__).parent / 'likeness.py'}:Likeness"
"""A judge in the process of the run, which gives partial credit."""
WORKERS = ("tiny", "one_sided")
"""Recipes that keep their verifier, which is a worker process: a second each."""
ROWS = 24
"""Rows of generated data: to look for overlap with what is held out takes long with many."""
IMAGES = (Flow, ImageTokenizer)
"""Policies that write images."""
WRITERS = 8
"""Fonts of handwriting: copies of one, which is enough to be killed and resumed."""
STEPS = 3
"""Steps of each phase; a checkpoint is written after every second one of the run."""
FEW = {"base": 2, "mean_budget": 4, "min_per_prompt": 3}


def names() -> list[str]:
    """The recipes that ship."""
    return list(shipped())


def tiny(name: str, folder: Path, steps: int = STEPS, runs: Path = Path("runs")) -> Recipe:
    """The shipped recipe `name` with a tiny model and few rollouts; `folder` gets a file it may need.

    A run that it needs is in `runs`.
    """
    source = folder / "shipped" / f"{name}.yaml"
    source.parent.mkdir(parents=True, exist_ok=True)
    readers = folder / "readers"
    shipped_text = shipped()[name].read_text().replace("runs/", f"{runs}/")
    source.write_text(shipped_text.replace("folder: readers/", f"folder: {readers}/"))
    recipe = load_recipe(source)[0]
    changes = ["save_every=2", *_model(recipe)]
    if isinstance(recipe.policy.model, OneDm):
        changes += _handwriting(recipe, folder)
    if name == "grpo_gsm8k_gpu":
        changes += [f"plan.data={_questions(folder)}", f"evaluate.data={_questions(folder)}"]
    if recipe.evaluate is not None:
        changes += [
            "evaluate.size=4",
            f"evaluate.samples={min(2, recipe.evaluate.samples)}",
            "evaluate.every=2",
        ]
        changes += [f"evaluate.{change}" for change in _judges(recipe.evaluate.judge, recipe)]
    for phase, made in recipe.phases.items():
        path = f"phases.{phase}." if len(recipe.phases) > 1 else ""
        changes += [f"{path}{change}" for change in [f"steps={steps}", *_phase(made, recipe)]]
    return load_recipe(source, changes)[0]


def write(name: str, folder: Path, runs: Path = Path("runs")) -> Path:
    """The tiny recipe as a file of `folder`, named as it is shipped."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(text.written(tiny(name, folder, runs=runs)))
    return path


def _model(recipe: Recipe) -> list[str]:
    made, policy = recipe.policy.model, f"policy.{part_name(type(recipe.policy))}"
    if isinstance(recipe.policy, IMAGES):
        model = f"{policy}.model.{part_name(type(made))}"
        small = [] if "flow_mlp" in model else [f"{model}.layers=1"]
        precise = [f"{policy}.precision=float32"] if isinstance(recipe.policy, Flow) else []
        return [f"{model}.hidden_size=32", *small, *precise]
    if isinstance(made, FlexibleLlava):
        model, stand_in = f"{policy}.model.flexible_llava.model.small_llava", []
    elif isinstance(made, SmallLlama | SmallLlava | PictureLlama):
        model, stand_in = f"{policy}.model.{part_name(type(made))}", []
    else:
        small = "small_llava" if isinstance(recipe.policy, VisionLanguage) else "small_llama"
        model, stand_in = f"{policy}.model.{small}", [f"{policy}.model={{{small}: {{}}}}"]
    tokens = min(recipe.policy.max_new_tokens, 16 if "branchgrpo" not in recipe.name else 32)
    elastic = getattr(recipe.policy, "elastic", None)
    small = ["elastic={layers: [1], heads: [2], width: [48]}"] if elastic else []
    return [
        *stand_in,
        f"{model}.hidden_size=32",
        f"{model}.layers={2 if elastic else 1}",
        *(f"{policy}.{change}" for change in small),
        f"{policy}.max_new_tokens={tokens}",
        f"{policy}.precision=float32",
        f"{policy}.sampling_precision=same",
    ]


def _phase(phase: Any, recipe: Recipe) -> list[str]:
    changes = ["plan.groups=4", *_fewer(phase.plan.data, "plan.data")]
    if phase.plan.in_flight:
        changes.append("plan.in_flight=6")
    if isinstance(phase.plan.count, Allocate):
        changes += [f"plan.count.allocate.{option}={value}" for option, value in FEW.items()]
    elif phase.sample == "policy" and not phase.plan.dress:  # a tree has as many leaves as its forks say
        changes.append("plan.count.uniform.n=4")
    return changes + _judges(phase.judge, recipe)


def _judges(judges: Sequence[Any], recipe: Recipe) -> list[str]:
    """The change that makes them give partial credit, so that there is something to learn."""
    if not judges or isinstance(recipe.policy, IMAGES) or isinstance(recipe.policy.model, PictureLlama):
        return []
    kept = [to_recipe(each) for each in judges if not isinstance(each, Verifier)]
    if recipe.name in WORKERS and isinstance(judges[0], Verifier):
        kept.append({"verifier": {"by": judges[0].by}})
    return [f"judge={json.dumps([*kept, LIKENESS])}"]


def _fewer(data: Any, path: str) -> list[str]:
    """The change that leaves `data` few rows, where it says how many it has."""
    inner = f"{path}.{part_name(type(data))}"
    if hasattr(data, "data"):
        return _fewer(data.data, f"{inner}.data")
    return [f"{inner}.size={ROWS}"] if getattr(data, "size", 0) > ROWS else []


def _handwriting(recipe: Recipe, folder: Path) -> list[str]:
    """Fonts and readers in `folder`, and the changes that make the recipe use these fonts."""
    fonts, font = folder / "fonts", bytes(ImageFont.load_default(16).font_bytes)
    fonts.mkdir(exist_ok=True)
    for writer in range(WRITERS):
        (fonts / f"{writer}.ttf").write_bytes(font)
    for name in ("judge", "other"):
        CtcReader(ReaderConfig(height=16, channels=(4, 8), hidden_size=8)).save(folder / "readers" / name)
    model = "policy.flow.model.one_dm"
    changes = [f"{model}.heads=2", f"{model}.channels=[8, 8]", f"{model}.font={fonts / '0.ttf'}"]
    if "grpo" in recipe.phases:  # likelihoods of a reader that learned nothing are rounded to 0
        reader = {"folder": str(folder / "readers" / "judge"), "score": "log_likelihood"}
        changes.append(f"phases.grpo.judge={json.dumps([{'reader': reader}])}")
    data = ["evaluate.data", *(f"phases.{phase}.plan.data" for phase in recipe.phases)]
    return changes + [f"{place}.handwriting_fonts.folder={fonts}" for place in data]


def _questions(folder: Path) -> str:
    """Data with the columns of GSM8K."""
    worked = "Half of 48 is <<48/2=24>>24.\n#### {}"
    rows = [{"question": f"How much is {n} + {n}?", "answer": worked.format(2 * n)} for n in range(8)]
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"{{hub: {{path: {path}, input_key: question, label_key: answer}}}}"
