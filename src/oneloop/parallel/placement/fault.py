"""What the planner cannot do, said to the user."""


class PlacementError(ValueError):
    """A model, mesh, budget or plan that does not fit; the message names it and what would."""


class Infeasible(PlacementError):
    """No placement meets the memory bound. `smallest`: bytes per rank that would do, where known."""

    def __init__(self, message: str, smallest: int | None = None):
        super().__init__(message)
        self.smallest = smallest
