"""Stage functions on the workers of a Ray cluster: a graph in threads.py whose threads only wait for them.

    with Cluster() as cluster:
        judge = cluster.worker("judge", Judge, "options of Judge")     # Judge("options of Judge") over there
        graph.stage("judge", judge)
        graph.stage("learn")

What a worker makes stays in the object store where it was made; a stage passes the reference on, and the
worker that needs it pulls it. Registers and order are kept in this process, by messages without payload:
Ray's own queues are unbounded.

A worker that dies is started again, and what it was at work on is given to the new one: inputs are held until
the act has ended. So every input has exactly one result. The work may be done twice: a worker that dies after
its work and before its reply has told nobody that it is done. Functions should not mind being called again.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from oneloop.core.scratch import Scratch

RESTARTS = 3
"""Deaths of a worker in a row, on one act, that are made good."""
HERE = {"worker_niceness": 0}
"""Of a cluster of this machine alone: Ray's 15 starves samplers and judges beside the update."""
CREATION = "raised in its creation task"
"""What Ray says of an actor whose constructor raised."""


class NoCluster(RuntimeError):
    """There is no Ray, or no cluster at the address."""


class WorkerDied(RuntimeError):
    """A worker cannot be started, or died again and again on the same act."""


def require_ray() -> None:
    """Raises NoCluster unless Ray is installed."""
    if importlib.util.find_spec("ray") is None:
        raise NoCluster("backend 'ray' needs Ray: pip install 'oneloop[cluster]', or take backend 'threads'")


class Cluster:
    """A connection to the Ray cluster at `address`; without one, to a cluster of this machine alone.

    One that was there before is left running. Raises NoCluster.
    """

    def __init__(self, address: str | None = None, says: Callable[[str], None] = print):
        require_ray()
        os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")  # else Ray replaces Python's print
        import ray

        self.says, self._ours = says, not ray.is_initialized()
        self._folder: Scratch | None = None
        if self._ours:
            local: dict[str, Any] = {}
            if address is None:
                self._folder = Scratch(_folder_of_ray())  # else each session stays in /tmp/ray
                local = {"include_dashboard": False, "_temp_dir": self._folder.path, "_system_config": HERE}
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
            except Exception as error:  # a bare one where its processes are slow to start
                self._forget()
                raise NoCluster(f"no Ray cluster at {address or 'this machine'}: {error}") from error
        self._workers: list[RayWorker] = []

    def _forget(self) -> None:
        """Removes what a cluster that was started here left on the disk."""
        if self._folder is not None:
            self._folder.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def worker(
        self, name: str, make: Callable[..., Any], *options: Any, cpus: float = 1, gpus: float = 0
    ) -> "RayWorker":
        """Starts a worker, which makes a function by `make(*options)` and then calls it; see RayWorker.
        Raises NoCluster where the cluster has no room for it."""
        self._check_room(name, "CPU", cpus)
        self._check_room(name, "GPU", gpus)
        made = RayWorker(name, make, options, {"num_cpus": cpus, "num_gpus": gpus}, self.says)
        self._workers.append(made)
        return made

    def _check_room(self, name: str, what: str, wanted: float) -> None:
        """Raises NoCluster where Ray would wait for ever for a machine with room."""
        import ray

        has = ray.cluster_resources().get(what, 0.0)
        taken = sum(worker.needs[f"num_{what.lower()}s"] for worker in self._workers if not worker.closed)
        if taken + wanted > has:
            raise NoCluster(
                f"worker '{name}' needs {wanted:g} {what}, and {taken:g} of the cluster's {has:g} are taken "
                "by other workers: take fewer workers, or a larger cluster"
            )

    def give_up_starting(self) -> None:
        """Ends the workers that are not ready yet, so that nobody waits for their first act."""
        for worker in self._workers:
            if not worker.started:
                worker.close()

    def close(self) -> None:
        """Ends the workers, and the cluster if it was started here."""
        import ray

        for worker in self._workers:
            worker.close()
        if self._ours:
            ray.shutdown()
            self._forget()


def _folder_of_ray() -> str | None:
    """Where a local cluster has its files: Ray's sockets need a short path, and macOS's is too long."""
    return os.environ.get("RAY_TMPDIR", "/tmp" if sys.platform == "darwin" else None)


class RayWorker:
    """A function in a process of its own. Calling it gives references to what the function returned, to be
    pulled.

    Arguments may be references of other workers. What the function raises is raised here, the traceback over
    there in its cause.
    """

    def __init__(
        self,
        name: str,
        make: Callable[..., Any],
        options: tuple[Any, ...],
        needs: dict[str, float],
        says: Callable[[str], None],
    ):
        self.name, self.needs, self.deaths, self.closed = name, needs, 0, False
        self.started = False
        """Whether it has done something."""
        self._make, self._options, self._says = make, options, says
        self._actor = self._start()

    def _start(self) -> Any:
        import ray

        return ray.remote(Acting).options(**self.needs).remote(self._make, *self._options)

    def __call__(self, *inputs: Any, parts: int = 1) -> Any:
        """One reference, or a tuple of `parts` of them where the function returns so many values."""
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        for attempt in range(RESTARTS + 1):
            done, *made = self._actor.act.options(num_returns=parts + 1).remote(parts, *inputs)
            try:
                ray.get(done)  # empty: the payload stays where it is
                self.started = True
                return made[0] if parts == 1 else tuple(made)
            except RayTaskError as error:
                cause = error.cause if isinstance(error.cause, Exception) else error
                raise cause from error
            except RayActorError as error:
                if CREATION in str(error):  # it would fail again
                    raise WorkerDied(f"worker '{self.name}' cannot be started: {_raised(error)}") from error
                if self.closed:
                    raise WorkerDied(f"worker '{self.name}' was ended") from error
                self.deaths += 1
                if attempt == RESTARTS:
                    raise WorkerDied(
                        f"worker '{self.name}' died {attempt + 1} times on one act: {error}"
                    ) from error
                self._says(f"worker '{self.name}' died; another one takes over what it was at work on")
                self._actor = self._start()
        raise AssertionError("unreachable")

    def process(self) -> int:
        """Number of the process it runs in, on its machine."""
        import ray

        return int(ray.get(self._actor.process.remote()))

    def close(self) -> None:
        """Ends its process."""
        import ray

        if not self.closed:
            self.closed = True  # before it dies, so that nobody starts another one
            ray.kill(self._actor)


def _raised(error: Exception) -> str:
    """What was raised over there: what follows the last frame of the traceback that Ray hands on."""
    lines = str(error).splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    rest = lines[frames[-1] + 1 :] if frames else lines
    while len(rest) > 1 and rest[0].startswith("    "):  # the code of that frame
        rest = rest[1:]
    return "\n".join(rest).strip()


class Acting:
    """What runs in the worker's process."""

    def __init__(self, make: Callable[..., Any], *options: Any):
        self._function = make(*options)

    def act(self, parts: int, *inputs: Any) -> Any:
        """None, then what the function returned."""
        made = self._function(*inputs)
        return (None, made) if parts == 1 else (None, *made)

    def process(self) -> int:
        """Number of this process."""
        return os.getpid()
