"""Option names of other trainers: TRL, verl, OpenRLHF, slime, prime-rl, NeMo-RL.

A name is here only where its meaning is the same; where the values differ they are translated. Every use is
printed with what it became. `ELSEWHERE` says, for well-known names that mean something else, what to write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oneloop.core.rooms import find, names
from oneloop.recipe.faults import short
from oneloop.recipe.fields import init_fields
from oneloop.recipe.overrides import Absent, Misplaced, drop_part, in_phase, place


@dataclass(frozen=True)
class Alias:
    """The option that another trainer's name stands for.

    `values`: theirs -> ours, and none but these unless `others`. `optional`: 0 or false leaves the part out
    of its list, everything else puts it there. `told`: values that mean several options here, and what to
    write.
    """

    paths: tuple[str, ...]
    values: Mapping[Any, Any] = field(default_factory=dict)
    others: bool = False
    optional: bool = False
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """The part whose option this is."""
        return ".".join(self.paths[0].split(".")[:2])


def _same(path: str, *names: str, **options: Any) -> dict[str, Alias]:
    return {name: Alias((path,), **options) for name in names}


DASHBOARDS = {"wandb": ("wandb",), "tensorboard": ("tensorboard",), "trackio": ("trackio",), "none": ()}
CLIP = "objective.policy_gradient.clip"
DR_GRPO = (
    "write objective.policy_gradient: {mean: constant, constant_length: N}, N being the language policy's "
    "max_new_tokens, and credit.group_relative.scale: none"
)
ALIASES: dict[str, Alias] = {
    # what to try
    **_same("plan.count.uniform.n", "num_generations", "group_size", "n_samples_per_prompt", "rollout.n"),
    **_same("plan.count.uniform.n", "rollout.n_samples_per_prompt", "num_generations_per_prompt"),
    **_same("plan.count.uniform.n", "grpo.num_generations_per_prompt", "actor_rollout_ref.rollout.n"),
    **_same("plan.groups", "num_prompts_per_step", "grpo.num_prompts_per_step", "rollout_batch_size"),
    **_same("plan.groups", "rollout.batch_size", "data.train_batch_size"),
    **_same("plan.shuffle", "shuffle_dataset", "data.shuffle", "rollout_shuffle"),
    **_same("plan.data.hub.path", "dataset_name", "prompt_data", "data.train_files", "data.prompt_dataset"),
    **_same("plan.data.hub.split", "dataset_train_split", "prompt_split"),
    **_same("plan.data.hub.name", "dataset_config"),
    **_same("plan.data.hub.input_key", "input_key", "data.input_key", "data.prompt_key"),
    **_same("plan.data.hub.label_key", "label_key", "data.label_key"),
    **_same("plan.data.hub.completion_key", "completion_key", "output_key", "data.output_key"),
    # the policy
    **_same("policy.language.model", "model_name_or_path", "actor_rollout_ref.model.path", "hf_checkpoint"),
    **_same("policy.language.model", "pretrain", "model.name"),
    **_same(
        "policy.language.max_new_tokens", "max_completion_length", "max_response_length", "max_new_tokens"
    ),
    **_same("policy.language.max_new_tokens", "data.max_response_length", "rollout_max_response_len"),
    **_same("policy.language.max_new_tokens", "sampling.max_tokens", "rollout.max_new_tokens"),
    **_same("policy.language.temperature", "temperature", "rollout_temperature", "sampling.temperature"),
    **_same("policy.language.temperature", "actor_rollout_ref.rollout.temperature"),
    **_same("policy.language.top_p", "top_p", "rollout_top_p", "actor_rollout_ref.rollout.top_p"),
    **_same(
        "policy.language.top_k",
        "top_k",
        "rollout_top_k",
        "actor_rollout_ref.rollout.top_k",
        values={-1: 0},
        others=True,
    ),
    **_same("policy.language.min_p", "min_p"),
    **_same("policy.language.precision", "bf16", values={True: "bf16_autocast", False: "float32"}),
    **_same("policy.language.lora.rank", "lora_r", "ds.lora.rank"),
    **_same("policy.language.lora.alpha", "lora_alpha", "ds.lora.alpha"),
    **_same("policy.language.lora.targets", "lora_target_modules", "ds.lora.target_modules"),
    # credit and select
    **_same(
        "credit.group_relative.scale",
        "scale_rewards",
        values={"group": "group", "batch": "batch", "none": "none", True: "group", False: "none"},
    ),
    **_same(
        "credit.group_relative.scale",
        "algorithm.norm_adv_by_std_in_grpo",
        "norm_adv_by_std_in_grpo",
        values={True: "group", False: "none"},
    ),
    **_same(
        "credit.group_relative.scale", "disable_grpo_std_normalization", values={True: "none", False: "group"}
    ),
    **_same(
        "select.truncated",
        "mask_truncated_completions",
        "overlong_filtering",
        values={True: True, False: False},
        optional=True,
    ),
    # how to learn
    "epsilon": Alias((f"{CLIP}_low", f"{CLIP}_high")),
    "clip_ratio": Alias((f"{CLIP}_low", f"{CLIP}_high")),
    "actor_rollout_ref.actor.clip_ratio": Alias((f"{CLIP}_low", f"{CLIP}_high")),
    "eps_clip": Alias((f"{CLIP}_low", f"{CLIP}_high")),
    **_same(f"{CLIP}_low", "clip_ratio_low", "actor_rollout_ref.actor.clip_ratio_low", "ratio_clip_min"),
    **_same(f"{CLIP}_low", "loss_fn.ratio_clip_min"),
    **_same(f"{CLIP}_high", "epsilon_high", "clip_ratio_high", "actor_rollout_ref.actor.clip_ratio_high"),
    **_same(f"{CLIP}_high", "eps_clip_high", "ratio_clip_max", "loss_fn.ratio_clip_max"),
    **_same(
        "objective.policy_gradient.dual_clip", "delta", "clip_ratio_c", "actor_rollout_ref.actor.clip_ratio_c"
    ),
    **_same(
        "objective.policy_gradient.dual_clip",
        "eps_clip_c",
        "ratio_clip_c",
        "loss_fn.ratio_clip_c",
        "dual_clip",
    ),
    **_same("objective.policy_gradient.importance_cap", "tis_clip"),
    **_same(
        "objective.policy_gradient.ratio",
        "importance_sampling_level",
        values={"token": "token", "sequence": "sequence"},
    ),
    **_same(
        "objective.policy_gradient.mean",
        "loss_type",
        values={"grpo": "rollout", "dapo": "action"},
        told={"dr_grpo": DR_GRPO},
    ),
    **_same(
        "objective.policy_gradient.mean",
        "loss_agg_mode",
        "actor_rollout_ref.actor.loss_agg_mode",
        values={"token-mean": "action", "seq-mean-token-mean": "rollout"},
    ),
    **_same(
        "objective.policy_gradient.mean",
        "calculate_per_token_loss",
        "token_level_loss",
        "loss_fn.token_level_loss",
        values={True: "action", False: "rollout"},
    ),
    **_same("objective.kl.coefficient", "beta", "kl_loss_coef", optional=True),
    **_same("objective.kl.coefficient", "actor_rollout_ref.actor.kl_loss_coef", optional=True),
    **_same(
        "objective.kl.coefficient",
        "reference_policy_kl_penalty",
        "loss_fn.reference_policy_kl_penalty",
        optional=True,
    ),
    **_same("objective.entropy_bonus.coefficient", "entropy_coef", "entropy_coeff", optional=True),
    **_same("objective.entropy_bonus.coefficient", "actor_rollout_ref.actor.entropy_coeff", optional=True),
    **_same("learner.learning_rate", "learning_rate", "lr", "actor_learning_rate", "optim.lr"),
    **_same("learner.learning_rate", "actor_rollout_ref.actor.optim.lr", "actor.adam.lr"),
    **_same(
        "learner.schedule",
        "lr_scheduler_type",
        "lr_decay_style",
        values={
            "constant": "constant",
            "constant_with_warmup": "constant",
            "linear": "linear",
            "cosine": "cosine",
        },
    ),
    **_same("learner.warmup", "warmup_steps", "lr_warmup_iters", "lr_warmup_steps"),
    **_same("learner.weight_decay", "weight_decay", "actor_rollout_ref.actor.optim.weight_decay"),
    **_same("learner.max_grad_norm", "max_grad_norm", "clip_grad", "grad_clip"),
    **_same("learner.max_grad_norm", "actor_rollout_ref.actor.grad_clip"),
    **_same("learner.epochs", "num_iterations", "ppo_epochs", "actor_rollout_ref.actor.ppo_epochs"),
    # the run
    **_same("steps", "max_steps", "num_rollout", "max_num_steps", "grpo.max_num_steps"),
    **_same("steps", "total_training_steps", "trainer.total_training_steps"),
    **_same("save_every", "save_steps", "save_freq", "trainer.save_freq", "save_interval"),
    **_same("keep_checkpoints", "save_total_limit", "max_actor_ckpt_to_keep"),
    **_same("trackers", "report_to", "logger", "trainer.logger", values=DASHBOARDS, others=True),
    **_same("evaluate.every", "eval_steps", "test_freq", "trainer.test_freq", "eval_interval"),
}

BATCH = (
    "write plan.groups (prompts a batch), plan.count.uniform.n (rollouts a prompt) and "
    "learner.tokens_per_micro_batch (memory)"
)
ELSEWHERE = {
    "per_device_train_batch_size": f"it counts completions on one device; {BATCH}",
    "gradient_accumulation_steps": f"the result does not depend on how a batch is cut; {BATCH}",
    "generation_batch_size": f"it counts completions; {BATCH}",
    "global_batch_size": f"it counts completions; {BATCH}",
    "train_batch_size": f"peers count prompts or completions by it; {BATCH}",
    "batch_size": f"peers count prompts or completions by it; {BATCH}",
    "ppo_mini_batch_size": "it counts prompts a minibatch; write learner.minibatches, how many there are",
    "num_train_epochs": "write steps (batches to learn from), and plan.epochs to stop after so many passes",
    "kl_coef": "it puts the KL into the reward; here it is an objective: objective.kl.coefficient",
    "gradient_checkpointing": "write policy.language.checkpointing, or lower learner.tokens_per_micro_batch",
    "reward_funcs": "write judge: [{function: {path: file.py:function}}]",
    "reward_weights": "write a weight in each judge: [{function: {path: file.py:function, weight: 0.5}}]",
    "dr_grpo": DR_GRPO,
    "use_peft": "write policy.language.lora: {rank: 16}, or leave lora out to train all weights",
    "peft_config": "write policy.language.lora: {rank: 16, alpha: 32}",
    "load_in_4bit": "weights are not quantised here; write policy.language.lora: {rank: 16} to save memory",
    "logging_steps": "every step is logged; a tracker is named in trackers",
    "log_completions": "all rollouts are in the Parquet files; oneloop train --log-completions N prints some",
    "run_name": "write name",
    "resume_from_checkpoint": "write --resume",
    "output_dir": "write --run DIRECTORY",
    "out": "write --run DIRECTORY",
    "output": "write --run DIRECTORY",
    "run_dir": "write --run DIRECTORY",
    "use_vllm": "sampling is the policy's own; see policies",
    "fp16": "its range is too small for these losses; write policy.language.precision: bf16_autocast",
    "optim": "the optimiser is AdamW; write learner.betas and learner.weight_decay",
    "warmup_ratio": "write learner.warmup, the updates over which the rate rises",
    "max_prompt_length": "no prompt is cut; plan.on_bad_row: skip leaves out those that are too long",
    "generation_kwargs": "write temperature, top_k, top_p, min_p and stop in policy.language",
    "repetition_penalty": "training must know the probability of each token; write temperature or top_p",
    "stop_strings": "write policy.language.stop: [...]",
    "attn_implementation": "the attention is the fastest that computes what the model does",
    "dataset_num_proc": "rows are read when they are asked for",
    "dataloader_num_workers": "rows are read when they are asked for",
    "remove_unused_columns": "all columns reach the judges",
    "eval_strategy": "write evaluate.every, the steps between evaluations",
    "per_device_eval_batch_size": "write policy.language.slots, the sequences sampled at a time",
    "chat_template_path": "the model's own template is used; write the other into its folder",
    "normalize_rewards": "write credit.group_relative.scale and .centre; its leave-one-out differs",
}


def accept(
    raw: dict[str, Any], cls: type[Any], phase_keys: list[str], name: str, value: Any
) -> tuple[list[str], list[str]]:
    """Puts the option that others call `name` into `raw`, a recipe (`cls`) with its phases.

    Gives (sentences on what it became, faults).
    """
    alias, notes = ALIASES[name], list[str]()
    paths = [_of_its_policy(raw, path) for path in alias.paths]
    known = {_key(theirs): ours for theirs, ours in alias.values.items()}
    if isinstance(value, str) and value in alias.told:
        return [], [f"'{name}': {value} means several options here: {alias.told[value]}"]
    if known and not alias.others and _key(value) not in known:
        choices = ", ".join(str(theirs).lower() for theirs in alias.values)
        return [], [f"'{name}': {short(value)} has no counterpart, known: {choices}; see {paths[0]}"]
    value = known.get(_key(value), value)
    for path in paths:
        try:
            notes.append(f"{name} -> {_put(raw, cls, phase_keys, path, value, alias)}")
        except Absent as absent:
            return [], [f"'{name}' means {path}, but {absent}"]
        except Misplaced as error:
            return [], [f"'{name}': {error}"]
    return notes, []


def _put(
    raw: dict[str, Any], cls: type[Any], phase_keys: list[str], path: str, value: Any, alias: Alias
) -> str:
    """Sets or leaves out; says which."""
    full, part = (in_phase(raw, one, phase_keys) for one in (path, alias.part))
    if alias.optional and (value is None or value == 0):
        drop_part(raw, part)
        return f"no {part}"
    if alias.optional and path == alias.part:
        place(raw, cls, full, {})
        return full
    place(raw, cls, full, value, adds=alias.optional)
    return f"{full} = {short(value)}"


def _of_its_policy(raw: dict[str, Any], path: str) -> str:
    """`path`, an option of a language policy, as one of the recipe's own policy where that has it too."""
    policy = raw.get("policy")
    name = next(iter(policy), None) if isinstance(policy, dict) else policy
    option = path.removeprefix("policy.language.")
    if option == path or not isinstance(name, str) or name not in names("policy"):
        return path
    has = option.partition(".")[0] in init_fields(find("policy", name))
    return f"policy.{name}.{option}" if has else path


def _key(value: Any) -> Any:
    """True and 1 are different values here, and an unhashable one is none of them."""
    return (type(value), value) if isinstance(value, str | int | float | bool) else None
