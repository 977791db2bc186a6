"""`path=value` on the command line, and the option names of other trainers.

    oneloop train recipe.yaml learner.learning_rate=1e-4 plan.count.uniform.n=16 num_generations=16

A path walks mappings by key and lists by the name of a part in them. A name known from TRL, verl, OpenRLHF,
slime, prime-rl or NeMo-RL is accepted where its meaning is the same, and the mapping is printed.
"""

from typing import Any

import yaml

ALIASES = {
    "num_generations": "plan.count.uniform.n",
    "rollout.n": "plan.count.uniform.n",
    "n_samples_per_prompt": "plan.count.uniform.n",
    "group_size": "plan.count.uniform.n",
    "num_generations_per_prompt": "plan.count.uniform.n",
    "num_prompts_per_step": "plan.groups",
    "rollout_batch_size": "plan.groups",
    "max_completion_length": "policy.language.max_new_tokens",
    "max_response_length": "policy.language.max_new_tokens",
    "rollout_max_response_len": "policy.language.max_new_tokens",
    "model_name_or_path": "policy.language.model",
    "temperature": "policy.language.temperature",
    "top_p": "policy.language.top_p",
    "top_k": "policy.language.top_k",
    "min_p": "policy.language.min_p",
    "learning_rate": "learner.learning_rate",
    "lr": "learner.learning_rate",
    "lr_scheduler_type": "learner.schedule",
    "warmup_steps": "learner.warmup",
    "weight_decay": "learner.weight_decay",
    "max_grad_norm": "learner.max_grad_norm",
    "num_iterations": "learner.epochs",
    "ppo_epochs": "learner.epochs",
    "max_steps": "steps",
    "save_steps": "save_every",
    "save_total_limit": "keep_checkpoints",
    "eval_steps": "evaluate.every",
    "epsilon": "objective.policy_gradient.clip_low",
    "epsilon_high": "objective.policy_gradient.clip_high",
    "clip_ratio_low": "objective.policy_gradient.clip_low",
    "clip_ratio_high": "objective.policy_gradient.clip_high",
    "clip_ratio_c": "objective.policy_gradient.dual_clip",
    "delta": "objective.policy_gradient.dual_clip",
    "beta": "objective.kl.coefficient",
    "kl_coef": "objective.kl.coefficient",
    "kl_loss_coef": "objective.kl.coefficient",
    "advantage_ddof": "credit.group_relative.ddof",
    "tis_clip": "objective.policy_gradient.importance_cap",
}
PHASE_KEYS = ("plan", "objective", "judge", "credit", "select", "learner", "sample", "steps")


def accept_aliases(raw: dict[str, Any]) -> list[str]:
    """Moves other trainers' names at the top of `raw` to their place; one sentence for each."""
    notes: list[str] = []
    for alias in [key for key in raw if key in ALIASES]:
        value = raw.pop(alias)
        place(raw, _target(raw, ALIASES[alias]), value)
        notes.append(f"{alias} -> {ALIASES[alias]} = {value!r}")
    return notes


def set_path(raw: dict[str, Any], override: str, notes: list[str]) -> list[str]:
    """Applies one `path=value` to `raw` (the value is YAML); returns the faults, adds alias notes to `notes`."""
    path, equals, text = override.partition("=")
    path = path.removeprefix("--").replace("-", "_")
    if not equals or not path:
        return [f"'{override}' is not an override; write path=value, for example learner.learning_rate=1e-4"]
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return [f"'{override}': the value is not YAML"]
    if isinstance(value, str) and _is_number(value):
        value = float(value)  # YAML reads 1e-4 as text
    if path in ALIASES and path.split(".")[0] not in raw:
        notes.append(f"{path} -> {ALIASES[path]} = {value!r}")
        path = ALIASES[path]
    try:
        place(raw, _target(raw, path), value)
    except LookupError as error:
        return [f"'{override}': {error.args[0]}"]
    return []


def _target(raw: dict[str, Any], path: str) -> list[str]:
    """The path as keys; what belongs to a phase goes to the last phase where a recipe has several."""
    keys = path.split(".")
    phases = raw.get("phases")
    if keys[0] in PHASE_KEYS and isinstance(phases, dict) and phases:
        return ["phases", list(phases)[-1], *keys]
    return keys


def place(node: Any, keys: list[str], value: Any) -> None:
    """Sets `node[keys...]`, making mappings on the way. Raises LookupError where a path ends in a value."""
    for key in keys[:-1]:
        node = _step(node, key)
    if isinstance(node, list):
        raise LookupError(f"'{keys[-1]}' names a part of a list; give one of its options, or the whole list")
    node[keys[-1]] = value


def _step(node: Any, key: str) -> Any:
    """The mapping under `key`, made if missing; in a list, the options of the part called `key`."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            if item == key:
                node[index] = {key: {}}
                return node[index][key]
            if isinstance(item, dict) and key in item:
                item[key] = {} if item[key] is None else item[key]
                return item[key]
        node.append({key: {}})
        return node[-1][key]
    below = node.get(key)
    if isinstance(below, str) and key not in ("model", "name"):
        below = {below: {}}  # a part written by its name alone
    if below is None:
        below = {}
    if not isinstance(below, dict | list):
        raise LookupError(f"'{key}' is {below!r}, which has no options")
    node[key] = below
    return below


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower() not in ("nan", "inf", "infinity")
