"""Processes to run on: a local cluster of dask.distributed, or one that is running somewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dask
from distributed import Client, LocalCluster

from ..config import n_cores

# As in the Makefile: one thread per process, and freed memory is kept for the next mini-batch (glibc).
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
}
# What dask measures of its own processes takes up to a twentieth of a core from the runs; nobody looks at it here.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.worker.memory.monitor-interval": "1s",
}
# A task is given up when that many processes died under it: it, not they, must be the reason.
ALLOWED_DEATHS = 5
CONNECT_SECONDS = 30


class ClusterError(RuntimeError):
    """There is no scheduler to work with, or it went away."""


@contextlib.contextmanager
def connected(on: str = "", n_workers: int | None = None) -> Iterator[Client]:
    """A client of a scheduler; one that is started here ends with the block.

    Parameters
    ----------
    on : str
        Address such as ``tcp://host:8786`` or path of a scheduler file; "" starts a cluster on this machine.
    n_workers : int, optional
        Of the local cluster: processes of one thread each, default one per core.

    Raises
    ------
    ClusterError
        There is no scheduler at that address, or the file cannot be read.
    """
    if on:
        with _remote(on) as client:
            yield client
        return
    settings = {
        "distributed.scheduler.allowed-failures": ALLOWED_DEATHS,
        "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
        "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
        **QUIET,
    }
    # No memory limit of dask's own: it would pause or kill a run at a share of this machine that suits nobody.
    options = {"threads_per_worker": 1, "memory_limit": 0, "silence_logs": "CRITICAL"}
    # No dashboard; its port would be taken by another grid on this machine.
    options |= {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with dask.config.set(settings), LocalCluster(n_workers=n_workers or n_cores(), **options) as cluster:
        try:
            with Client(cluster, set_as_default=False) as client:
                yield client
        finally:
            _end_workers(cluster)


def _end_workers(cluster: LocalCluster) -> None:
    """Kill the processes: what is finished is stored whole, and asking each to leave takes seconds."""

    async def kill() -> None:
        for nanny in cluster.workers.values():
            nanny.auto_restart = False
            if nanny.process is not None and nanny.process.process is not None:
                await nanny.process.process.kill()

    with contextlib.suppress(Exception):  # one that is just starting or ending is left to the cluster
        cluster.sync(kill)


@contextlib.contextmanager
def _remote(on: str) -> Iterator[Client]:
    where = {"address": on} if "://" in on else {"scheduler_file": str(Path(on).expanduser())}
    if "scheduler_file" in where and not Path(where["scheduler_file"]).is_file():
        raise ClusterError(f"--on {on}: no such file; start 'dask scheduler --scheduler-file {on}' first")
    try:
        client = Client(**where, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ClusterError(f"--on {on}: no scheduler answers there ({reason}); is it running?") from error
    with client:
        yield client


def has_gpu_workers(client: Client) -> bool:
    """Whether some worker declares the resource GPU (``dask worker --resources "GPU=1"``)."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(worker["resources"].get("GPU", 0) for worker in workers)
