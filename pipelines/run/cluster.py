"""Segments as tasks on Ray: workers that hold the model once and refine behind their own back.

A worker stylizes segments one after the other; in a second thread it refines them, each as soon as
the segment before in the same shot is done, on whichever worker that is. The pixels are those of a
run without Ray. The videos must be where every worker finds them under the same path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast
from uuid import uuid4

from ..checks import check_count
from ..engines.kinds import Carried, CarryingEngine, Engine
from ..errors import Remedy, StyleAVideoError
from ..refine.frames import Past
from . import segments
from .segments import Finished, State, Stylized, Work
from .shots import Segment

try:
    import ray
except ImportError:
    ray = None

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2  # segments a worker is given at a time: it never waits for the next one
TRIES = 5  # more for a segment whose worker dies: one that kills its worker would go on for ever


class Cluster(Generic[T]):
    """Workers on a Ray cluster, for one run or many; used as a context.

    Args:
        make: loads the model, on each worker once.
        workers: how many. Each takes a GPU where the cluster has some, else a CPU.
        address: of a cluster; "auto": one that runs here, else Ray is started on this machine.

    Raises:
        StyleAVideoError: no Ray here, no cluster at the address, fewer GPUs or CPUs than workers.
    """

    def __init__(self, make: Callable[[], T], workers: int = 1, address: str = "auto") -> None:
        if ray is None:
            raise StyleAVideoError("A cluster needs Ray: pip install ray into this environment.")
        check_count("The number of workers", workers)
        self.ours = not ray.is_initialized()
        if self.ours:
            _connect(address)
        self.workers = [_worker(make, workers) for _ in range(workers)]

    def __enter__(self) -> Cluster[T]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            ray.kill(worker)
        if self.ours:
            ray.shutdown()

    def ask(self, question: Callable[[T], R]) -> R:
        """What a worker answers about what it loaded."""
        return _get(self.workers[0].ask.remote(question))

    def runner(self, engine_of: Callable[[T], Engine | CarryingEngine]) -> OnCluster:
        """Stylizes by the engine that each worker makes of what it loaded."""
        return OnCluster(self, engine_of)

    def finished(
        self,
        work: Work,
        todo: Sequence[Segment],
        state_before: Callable[[Segment], State],
        run: str,
        engine_of: Any,
        carries: bool,
    ) -> Iterator[Finished]:
        """The segments in order.

        Args:
            run: its name, by which workers know that they have made its engine already.
            engine_of: as Ray keeps it.
            carries: whether a segment needs what the engine gave for the one before.
        """
        free = deque(self.workers * AHEAD)
        busy: dict[Any, Any] = {}
        coming: deque[Any] = deque()
        former: tuple[Segment, Any, Any] | None = None
        for segment in todo:
            if not free:
                (ready, *_), _ = ray.wait(list(busy), fetch_local=False)
                free.append(busy.pop(ready))
            worker = free.popleft()
            name = f"frames {segment.start} to {segment.end - 1}"
            follows = former is not None and segment.follows(former[0])
            before = former[1:] if former and follows else (None, None)
            known = State() if follows else state_before(segment)
            stylized = worker.stylize.options(name=f"stylize {name}").remote(
                work, segment, run, engine_of, before[0] if carries else None, known.carried
            )
            busy[stylized] = worker
            refine = worker.finish.options(concurrency_group="refine", name=f"refine {name}")
            coming.append(refine.remote(work, segment, stylized, before[1], known.past))
            former = segment, stylized, coming[-1]
            while len(coming) > 2 * AHEAD * len(self.workers):
                yield _get(coming.popleft())
        while coming:
            yield _get(coming.popleft())


@dataclass(frozen=True)
class OnCluster(Generic[T]):
    """A `here.Runner` whose segments the workers of a cluster make."""

    cluster: Cluster[T]
    engine_of: Callable[[T], Engine | CarryingEngine]

    def run(
        self,
        work: Work,
        todo: Sequence[Segment],
        state_before: Callable[[Segment], State],
        told: Callable[[int], None],
    ) -> Iterator[Finished]:
        carries = work.keyframes is not None or self.cluster.ask(_Carries(self.engine_of))
        run, engine_of = uuid4().hex, ray.put(self.engine_of)
        for finished in self.cluster.finished(work, todo, state_before, run, engine_of, carries):
            told(len(finished.segment))
            yield finished


@dataclass(frozen=True)
class _Carries:
    """Asks a worker whether its engines carry something along a shot."""

    engine_of: Callable[[Any], Engine | CarryingEngine]

    def __call__(self, loaded: Any) -> bool:
        return isinstance(self.engine_of(loaded), CarryingEngine)


class _Worker:
    """Holds what `make` loaded; a dead one is replaced, and what it had in hand done again."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.made: Any = None
        self.run, self.engine = "", cast(Any, None)
        self.refusal: StyleAVideoError | None = None
        try:
            self.made = make()
        except StyleAVideoError as error:  # raised here, Ray would bury it in an error of its own
            self.refusal = error

    @property
    def loaded(self) -> Any:
        if self.refusal is not None:
            raise self.refusal
        return self.made

    def ask(self, question: Callable[[Any], Any]) -> Any:
        return question(self.loaded)

    def stylize(
        self,
        work: Work,
        segment: Segment,
        run: str,
        engine_of: Callable[[Any], Engine | CarryingEngine],
        former: Stylized | None,
        carried: Carried | None,
    ) -> Stylized:
        (frames,) = segments.read(work, [segment])
        carried = former.carried if former else carried
        if self.run != run:
            self.run, self.engine = run, engine_of(self.loaded)
        return segments.stylize(work, self.engine, segment, frames, carried)

    def finish(
        self,
        work: Work,
        segment: Segment,
        stylized: Stylized,
        former: Finished | None,
        past: Past | None,
    ) -> Finished:
        (frames,) = segments.read(work, [segment])
        return segments.finish(
            work, segment, frames, stylized, former.state.past if former else past
        )


def _connect(address: str) -> None:
    try:
        ray.init(None if address == "auto" else address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise StyleAVideoError(
            f"There is no Ray cluster at {address}: ", Remedy.CLUSTER_ADDRESS
        ) from error


def _worker(make: Callable[[], Any], workers: int) -> Any:
    have = ray.cluster_resources()
    kind = "GPU" if have.get("GPU") else "CPU"
    if have.get(kind, 0) < workers:
        raise StyleAVideoError(
            f"The Ray cluster has {have.get(kind, 0):g} {kind}s for {workers} workers: ",
            Remedy.FEWER_WORKERS,
            count=f"{have.get(kind, 0):g}",
        )
    return ray.remote(
        num_cpus=1,
        num_gpus=1 if kind == "GPU" else 0,
        max_restarts=-1,
        max_task_retries=TRIES,
        concurrency_groups={"refine": 1},
        allow_out_of_order_execution=True,  # else a segment that waits holds up those behind it
    )(_Worker).remote(make)


def _get(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayActorError as error:
        raise StyleAVideoError(
            "The workers died over and over at one segment, most likely of too little memory: ",
            Remedy.WORKERS_MEMORY,
        ) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, StyleAVideoError):
            raise error.cause from None
        raise
