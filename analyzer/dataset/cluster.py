"""A data set on many workers, with Dask: captures indexed, and shards tracked, each by the tracker of a worker.

Owns the tasks and their order, never what they compute: `indexing.index_one` and `tracking.track` are the same on one
machine. Every task can be done again by another worker, and writes whole files or none: a worker that dies costs the
time of what it had done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from analyzer.capture.sources import reason
from analyzer.dataset import indexing, is_url
from analyzer.dataset.form import Settings
from analyzer.dataset.indexing import Done, Wanted
from analyzer.dataset.plan import Plan, make_plan
from analyzer.dataset.store import Store, need
from analyzer.dataset.tracking import Shard, check_scopes, merge, track, united
from analyzer.engine import Options, Result
from analyzer.errors import AnalyzerError, ClusterError
from analyzer.flows.facts import FlowFacts
from analyzer.flows.packed import PackedRows

Progress = Callable[[int, int | None], None]

LOCAL = "local"
#: workers of our own that may die at one task before it is given up (a scheduler elsewhere has a bound of its own):
#: machines that go away are ordinary in a cluster
DEATHS = 5
#: of every thread of the workers, where there are so many shards: each task of a report costs 3 ms around what it does,
#: and with fewer of them one that takes longer is waited for longer
TASKS_A_THREAD = 4
#: flows of a shard from which on they are packed, which takes less time than to send them as they are
PACKED_FROM = 1024
#: seconds to wait for a scheduler that does not answer
PATIENCE_S = 10


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """A client of the scheduler at an address, or of workers of its own on all cores of this machine (`local`)."""
    import logging

    distributed = need("distributed")
    dask = need("dask")
    # What it logs about workers that come and go is no concern of a report's reader; errors arrive as errors.
    for name in ("distributed", "asyncio", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.scheduler.allowed-failures": DEATHS}):
        if scheduler == LOCAL:
            with (
                distributed.LocalCluster(
                    n_workers=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                ) as cluster,
                distributed.Client(cluster, set_as_default=False) as client,
            ):
                yield client
            return
        try:
            client = distributed.Client(scheduler, timeout=PATIENCE_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            why = reason(error).split("\n")[0] or "no answer"
            raise ClusterError(f"--scheduler {scheduler}: {why}; it is `{LOCAL}`, or tcp://HOST:PORT") from None
        with client:
            yield client


def run(root: str, options: Options, scheduler: str, progress: Progress | None = None) -> Result:
    """What `tracking.run` gives, from shards tracked on workers. Raises ClusterError where the cluster fails.

    The bound of live flows holds for each shard by itself.
    """
    root = root if is_url(root) else os.path.abspath(root)
    plan = make_plan(root)
    scoped = check_scopes(plan, options)
    with connected(scheduler) as client:
        shards = gathered(client, tracked(client, root, plan, options, scoped), progress)
    return merge(plan, shards)


def tracked(client: Any, root: str, plan: Plan, options: Options, scoped: bool) -> list[Any]:
    """A future of each `Shard`: one shard of the data set, or several that lie beside each other."""
    # A task, not data sent once: what died with a worker is made again.
    planned = submit(client, make_plan, root)
    with _in_words():
        threads = sum(client.nthreads().values())
    together = _together(plan.settings.shards, threads)
    return [submit(client, track_shards, planned, options, scoped, some) for some in together]


def _together(shards: int, threads: int) -> list[range]:
    """Which shards are one task; each by itself where nobody is at work yet."""
    tasks = min(shards, threads * TASKS_A_THREAD) or shards
    return [range(shards * task // tasks, shards * (task + 1) // tasks) for task in range(tasks)]


def track_shards(plan: Plan, options: Options, scoped: bool, shards: Sequence[int]) -> Shard:
    """Some shards, one after the other, on a worker; many flows packed, to be sent and to lie beside others."""
    found = united(Shard.of(*track(plan, options, scoped=scoped, shards=[shard])) for shard in shards)
    return found._replace(facts=packed(found.facts))


def packed(facts: FlowFacts) -> FlowFacts:
    """Facts as they are sent: packed, where they are many."""
    if facts.count >= PACKED_FROM and not isinstance(facts.rows, PackedRows):
        facts.pack()
        facts.settle()
    return facts


def index(
    scheduler: str, store: Store, settings: Settings, captures: Sequence[Wanted], progress: Progress | None = None
) -> Iterator[Done]:
    """`indexing.index` on workers; captures come in the order in which they are done."""
    if not is_url(store.root):
        store = Store(os.path.abspath(store.root))
    total = sum(capture.size or 0 for capture in captures)
    done = 0
    with connected(scheduler) as client:
        largest_first = sorted(captures, key=lambda capture: -(capture.size or 0))
        futures = [submit(client, indexing.index_one, store, settings, capture) for capture in largest_first]
        for _, one in finished(client, futures, None):
            done += one.wanted.size or 0
            if progress is not None:
                progress(done, total)
            yield one


def submit(client: Any, task: Any, *words: Any, kind: str | None = None, priority: int = 0) -> Any:
    """A future of what `task` gives, which other workers try again where one dies; what it raises is not tried again.

    Dask tells from earlier tasks of a kind how long one takes, and of a kind that is new expects half a second.
    """
    key = f"{kind or task.__name__}-{uuid4().hex}"
    return client.submit(task, *words, key=key, pure=False, priority=priority)


def light(client: Any, task: Any, *words: Any, priority: int = 0) -> Any:
    """`submit` for what takes milliseconds: of one kind, so that none leaves its shard for a worker less busy."""
    return submit(client, task, *words, kind="light", priority=priority)


def gathered(client: Any, futures: list[Any], progress: Progress | None = None) -> list[Any]:
    """What all futures give, in order. Raises ClusterError where one fails for good."""
    found = dict(finished(client, futures, progress))
    return [found[future] for future in futures]


def finished(client: Any, futures: list[Any], progress: Progress | None) -> Iterator[tuple[Any, Any]]:
    """Each future with its result when it is there. Raises ClusterError where one fails for good."""
    distributed = need("distributed")
    done = 0
    with _in_words():
        for future, outcome in distributed.as_completed(
            futures, loop=client.loop, with_results=True, raise_errors=False
        ):
            done += 1
            if progress is not None:
                progress(done, len(futures))
            if future.cancelled():  # as_completed gives the reason as if it were the result
                raise ClusterError("the cluster went away: the connection to its scheduler is lost")
            if future.status == "error":
                _, error, _ = outcome
                if isinstance(error, OSError) and not isinstance(error, distributed.comm.CommClosedError):
                    raise ClusterError(f"a worker could not do its part: {reason(error)}")
                raise error
            yield future, outcome
            future.release()


@contextmanager
def _in_words() -> Iterator[None]:
    """Raise ClusterError where Dask says that the cluster, or a task's workers, are gone."""
    distributed = need("distributed")
    try:
        yield
    except AnalyzerError:
        raise
    except distributed.KilledWorker as error:
        lost = f"the cluster lost {error.allowed_failures + 1} workers at one task, most likely for lack of memory"
        raise ClusterError(f"{lost}: {reason(error)}") from None
    except (distributed.CancelledError, distributed.comm.CommClosedError, OSError) as error:
        raise ClusterError(f"the cluster went away: {reason(error) or type(error).__name__}") from None
