"""The columns of the two tables of rollouts.py, each declared once as an annotation.

Nothing here loads torch: who reads what a run recorded, as the report does, need not wait for it.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from oneloop.core.columns import Declared

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

Status = Literal["pending", "aborted", "stop", "length", "failed"]


class ActionColumns:
    """Columns of the table of N actions."""

    parent: Annotated[Tensor, Declared("the policy's sample")]
    """int64 [N], the action before, always earlier in the table; -1 at the start."""
    version: Annotated[Tensor, Declared("the policy's sample", recorded=True, shown=("token",))]
    """int64 [N], version of the weights that chose it; -1: somebody else's (a demonstration)."""
    logprob: Annotated[Tensor, Declared("the policy's sample", recorded=True, shown=("token",))]
    """float32 [N], log-probability under the law it was sampled from."""
    token: Annotated[Tensor, Declared("a language policy's sample", recorded=True)]
    """int64 [N], token ids."""
    span: Annotated[Tensor, Declared("a language policy's sample")]
    """int64 [N, 2], characters start..end of its rollout's `text` that the token wrote; may be empty."""
    flaw: Annotated[
        Tensor, Declared("the step_critic judge", recorded=True, mean="flaw_rate", shown=("token",))
    ]
    """float32 [N], how wrong the step is in which the action lies, 0 to 1; NaN: no usable critique."""
    solution_step: Annotated[Tensor, Declared("the step_critic judge", recorded=True, shown=("token",))]
    """int64 [N], number of that step, from 0; -1 in a text without steps."""
    latent: Annotated[Tensor, Declared("a flow policy's sample")]
    """[N, ...], what a denoising step arrived at, in the precision it was scored in."""
    entropy: Annotated[
        Tensor, Declared("the policy's annotate", recorded=True, mean="entropy", shown=("token",))
    ]
    """float32 [N], entropy of the law at that action."""
    proximal: Annotated[Tensor, Declared("the policy's annotate")]
    """float32 [N], log-probability under the weights at the start of this update."""
    reference: Annotated[Tensor, Declared("the policy's annotate (give the policy a reference)")]
    """float32 [N], log-probability under the reference model."""
    advantage: Annotated[
        Tensor, Declared("a credit part such as group_relative", recorded=True, shown=("token", "step"))
    ]
    """float32 [N], how much better than expected the action was; NaN: no verdict."""
    share: Annotated[
        Tensor, Declared("the policy's sample; select parts lower it", recorded=True, shown=("token", "step"))
    ]
    """float32 [N], 1, or 0 = leave out of the update."""
    ratio: Annotated[
        Tensor,
        Declared(
            "the policy_gradient objective",
            recorded=True,
            mean="ratio/mean",
            largest="ratio/max",
            smallest="ratio/min",
            shown=("token",),
        ),
    ]
    """float32 [N], probability now over probability when sampled."""
    clipped: Annotated[
        Tensor,
        Declared(
            "the policy_gradient objective", mean="clip_ratio/region_mean", last_mean="clip_ratio/last_pass"
        ),
    ]
    """float32 [N], 1 where the clip cuts the gradient off, else 0."""
    importance: Annotated[Tensor, Declared("the policy_gradient objective", mean="importance/mean")]
    """float32 [N], weight that corrects for what the sampler computes otherwise than the learner."""
    importance_capped: Annotated[
        Tensor, Declared("the policy_gradient objective", mean="importance/capped_ratio")
    ]
    """float32 [N], 1 where that weight was at its cap, else 0."""
    kl: Annotated[Tensor, Declared("the objectives kl and gaussian_kl", mean="kl", last_mean="kl/last_pass")]
    """float32 [N], estimate of the divergence from the reference."""
    nll: Annotated[Tensor, Declared("the objectives supervised and one_token", mean="nll")]
    """float32 [N], negative log-likelihood of the demonstrated action."""
    quantizer_loss: Annotated[Tensor, Declared("the reconstruction objective", mean="codes/quantizer_loss")]
    """float32 [N], loss of rounding an image's vectors to codes."""
    perplexity: Annotated[Tensor, Declared("the reconstruction objective", mean="codes/perplexity")]
    """float32 [N], how many codes the images of the micro-batch use, as if all were used alike."""
    code_use: Annotated[Tensor, Declared("the reconstruction objective", mean="codes/in_use")]
    """float32 [N], that number as a share of the codebook."""
    hit_rate: Annotated[Tensor, Declared("the one_token objective", mean="hit_rate")]
    """float32 [N], share of the draws that are the demonstrated token."""
    contrast: Annotated[Tensor, Declared("the style_contrast objective", mean="contrast")]
    """float32 [N], contrastive loss of the two references of a demonstration's writer."""
    closed: Annotated[Tensor, Declared("the reward_backprop objective", mean="hinge/closed_ratio")]
    """float32 [N], 1 where the reward is beyond its bound, so that the loss has no gradient."""
    logprob_gap: Annotated[
        Tensor,
        Declared("the learner", mean="sampling/logprob_gap_mean", largest="sampling/logprob_gap_max"),
    ]
    """float32 [N], |log-probability of the learner - that of the sampler|, while the weights are the same."""


class RolloutColumns:
    """Columns of the table of n rollouts."""

    id: Annotated[Tensor, Declared("the plan", recorded=True)]
    """int64 [n], never reused within a run."""
    group: Annotated[Tensor, Declared("the plan", recorded=True)]
    """int64 [n], candidates that are compared with one another share it."""
    key: Annotated[Tensor, Declared("the plan", recorded=True)]
    """int64 [n], row of the data set."""
    example: Annotated[list[dict[str, Any]], Declared("the plan")]
    """The data row itself: `prompt` and whatever columns the data has."""
    context: Annotated[list[tuple[tuple[int, Any], ...]], Declared("the plan")]
    """What the world said: ((depth, thing), ...); the prompt at depth 0, a tool's reply where it came."""
    budget: Annotated[Tensor, Declared("the plan")]
    """int64 [n], how many actions the rollout may take; -1: the policy's own limit."""
    round: Annotated[Tensor, Declared("the plan", recorded=True, shown=("rollout",))]
    """int64 [n], phase of its group in which the row was asked, 0 the first."""
    solve_rate: Annotated[Tensor, Declared("the plan, for dress parts alone")]
    """float64 [n], share of `correct` among the verdicts of the row's group so far; NaN: none."""
    seeded: Annotated[Tensor, Declared("the dress part seed_contexts", recorded=True, shown=("rollout",))]
    """int64 [n], number of solved examples put before the prompt it was sampled from; 0: none."""
    last: Annotated[Tensor, Declared("the policy's sample")]
    """int64 [n], last action; -1: none yet (a request)."""
    status: Annotated[list[Status], Declared("the policy's sample", recorded=True)]
    """pending, aborted, stop, length or failed."""
    text: Annotated[list[str], Declared("a language policy's sample", recorded=True)]
    """What was written, for judges and people; never encoded again."""
    image_tokens: Annotated[Tensor, Declared("the dress part draw_budget", recorded=True, shown=("rollout",))]
    """int64 [n], visual tokens of each picture in the prompt; the same for a whole group."""
    flops: Annotated[Tensor, Declared("the dress part draw_budget", recorded=True, shown=("rollout",))]
    """int64 [n], FLOPs a token that the subnet may take which samples the rollout and learns from it."""
    shown: Annotated[list[str], Declared("a vision-language policy's sample", recorded=True)]
    """The pictures of its prompt side by side, a small PNG file as base64 text; empty without any."""
    start: Annotated[Tensor, Declared("a flow policy's sample")]
    """float32 [n, ...], the noise an image began as; equal within a tree."""
    output: Annotated[Tensor, Declared("a flow policy's sample")]
    """float32 [n, C, H, W] in [0, 1], the image."""
    reference_output: Annotated[Tensor, Declared("a flow policy's sample (beside_reference: true)")]
    """float32 [n, C, H, W] in [0, 1], what the policy's reference made of the prompt, equal within a
    group."""
    tree: Annotated[Tensor, Declared("the plan's dress part fork", recorded=True, shown=("rollout",))]
    """int64 [n], rollouts with one number share a beginning."""
    branch: Annotated[Tensor, Declared("the plan's dress part fork", recorded=True)]
    """int64 [n], number of the leaf within its tree."""
    fork: Annotated[list[tuple[tuple[int, ...], int, float]], Declared("the plan's dress part fork")]
    """(steps at which the tree branches, into how many, correlation of siblings' noise)."""
    window: Annotated[Tensor, Declared("the plan's dress part window")]
    """int64 [n, 2], first step that is drawn and the one after the last; other steps follow the ODE."""
    reward: Annotated[Tensor, Declared("a judge", recorded=True)]
    """float64 [n], weighted sum of the verdicts; NaN: no verdict."""
    correct: Annotated[Tensor, Declared("a verifier", recorded=True)]
    """float64 [n], 1 or 0; NaN: no verdict."""
    critique: Annotated[list[Any], Declared("the step_critic judge", recorded=True)]
    """For each rollout its steps, [{step, text, wrong, words}, ...]; None without a usable critique."""
    propensity: Annotated[Tensor, Declared("the one_sided judge", recorded=True)]
    """float64 [n], the chance with which a verdict was paid for."""
    drop_group: Annotated[Tensor, Declared("the judge stage")]
    """bool [n], the rollout's group is refused: a judge with `on_error: drop_group` failed in it."""
    paid: Annotated[Tensor, Declared("the one_sided judge", recorded=True)]
    """bool [n], whether it was."""
    novelty: Annotated[Tensor, Declared("the credit part novelty", recorded=True)]
    """float64 [n], likelihood per action over that of its group; below 1: less likely than the others."""
