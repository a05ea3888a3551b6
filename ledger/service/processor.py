"""How many threads this machine computes on where nobody says otherwise. Importing it does not import torch."""

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that torch obeys, the first one first."""
TOPOLOGY = Path("/sys/devices/system/cpu")


def usable_threads(environment: Mapping[str, str] = os.environ, topology: Path = TOPOLOGY) -> int:
    """Return the number of threads that torch would use: what the environment says, else the cores it may run on.

    Args:
        environment: Environment variables.
        topology: Folder in which Linux tells which processors are of one core.
    """
    for variable in VARIABLES:
        said = environment.get(variable, "").partition(",")[0].strip()
        if said.isdecimal() and int(said) >= 1:
            return int(said)
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return max(1, len({_core(topology, processor) for processor in processors}))


def _core(topology: Path, processor: int) -> str:
    """Return which processors share the core of one; where nobody tells, it has a core of its own."""
    try:
        return (topology / f"cpu{processor}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(processor)
