"""What a recipe asks of its policy, and how much memory that takes, said before anything is loaded.

The policy itself counts (`memory` of language and flow policies); here its phases become demands.
"""

from oneloop.core.declared import declared
from oneloop.core.memory import Estimate, Needs, free_memory
from oneloop.core.protocols import Demand, ObjectiveDefaults, trait
from oneloop.recipe.recipe import Phase, Recipe
from oneloop.sample.plan.dress.fork import Fork


def demands(recipe: Recipe) -> list[Demand]:
    """The demands of each phase in order, then that of the evaluation."""
    found = [_of_phase(name, phase) for name, phase in recipe.phases.items()]
    spec = recipe.evaluate
    if spec is not None:
        found.append(Demand(name="evaluate", data=spec.data, rollouts=spec.size * spec.samples))
    return found


def estimate(recipe: Recipe) -> Estimate | None:
    """What `recipe` needs; None where its policy cannot be looked into.

    Reads the model's configuration, tokenizer and some data rows, never its weights. An estimate stops no
    run: one that fails says so.
    """
    try:
        needs = recipe.outline.memory(demands(recipe))
        return Estimate(needs, free_memory(needs.device))
    except ValueError:
        return None
    except Exception as error:  # a model that is built unlike the others
        return Estimate(Needs((), "", ""), 0, f"{type(error).__name__}: {error}")


def _of_phase(name: str, phase: Phase) -> Demand:
    plan, objective = phase.plan, phase.objective
    return Demand(
        name=name,
        data=plan.data,
        rollouts=(plan.in_flight or plan.groups) * plan.count.n,
        sampled=phase.sample == "policy",
        forks=tuple((part.steps, part.factor) for part in plan.dress if isinstance(part, Fork)),
        micro_batch=phase.learner.micro_batch,
        reference=any("actions.reference" in declared(term, "reads") for term in objective),
        whole_logits=any(trait(term, ObjectiveDefaults, "whole_logits") for term in objective),
    )
