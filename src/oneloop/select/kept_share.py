"""A schedule of the share that is kept: small at first, larger later (D3S, arXiv 2509.22115).

    linear     share(p) = (1 - p) start + p end      p = step / steps, so a resumed run goes on where it was
    a table    the share of the last row whose progress has been reached

Shares may not fall by accident: selection that grows stricter while the policy grows surer is the opposite of
the method. The paper does not give its values; the defaults of the parts are ours.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from oneloop.core.part import part

Proportion = Annotated[float, Field(gt=0, le=1)]


@part()
class Share:
    """A share in (0, 1] as a function of the phase's progress."""

    start: Proportion = 1.0
    """Share at the beginning of the phase."""
    end: Proportion | None = None
    """Share at the end of the phase, linear in between; None: constant at `start`."""
    table: tuple[tuple[Annotated[float, Field(ge=0, le=1)], Proportion], ...] = ()
    """Steps instead of a line: rows (progress, share from there on); `start` before the first."""
    tightens: bool = False
    """Whether the share may fall during training; false: a falling share is an error."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.table and self.end is not None:
            raise ValueError(f"give `end` or `table`, not both, got end={self.end}, table={self.table}")
        times = [progress for progress, _ in self.table]
        if times != sorted(set(times)):
            raise ValueError(f"the progress of table rows must rise, got {times}")
        before = [] if times[:1] == [0.0] else [self.start]
        shares = [*before, *(share for _, share in self.table), *([] if self.end is None else [self.end])]
        if shares != sorted(shares) and not self.tightens:
            raise ValueError(f"a share may only grow, got {shares}; `tightens: true` allows it to fall")
        return self

    @property
    def whole(self) -> bool:
        """Whether the share is always 1, so that nothing is ever left out."""
        return {self.start, self.end or self.start, *(share for _, share in self.table)} == {1.0}

    def at(self, facts: Mapping[str, Any]) -> float:
        """The share for a batch with these `facts`. Raises ValueError when they lack a progress it needs."""
        if self.end is None and not self.table:
            return self.start
        if "progress" not in facts:
            raise ValueError(
                "a share that changes needs facts['progress'] (steps done / all steps, 0 to 1); a plan that "
                f"has begun writes it. The batch has: {', '.join(facts) or 'no facts'}"
            )
        progress = float(facts["progress"])
        if self.end is not None:
            return (1 - progress) * self.start + progress * self.end
        return ([self.start] + [share for since, share in self.table if since <= progress])[-1]
