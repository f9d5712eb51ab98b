"""What every benchmark needs: the machine in words, tables, a folder for downloads, an orderly end."""

from __future__ import annotations

import os
import platform
import signal
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path


def exit_on_sigterm() -> None:
    """Make SIGTERM an ordinary exit, so that `with` blocks end the processes that a benchmark started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def cache_dir() -> Path:
    from platformdirs import user_cache_path  # here: a bare machine runs gpu.py, which needs no folder

    return user_cache_path("fettle") / "benchmarks"


def describe() -> str:
    """Processor, cores that this process may use, memory, Python, and the load that was there before."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory_kb = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, {memory_kb / 2**20:.0f} GiB, "
        f"Python {platform.python_version()}; load average before {os.getloadavg()[0]:.1f}"
    )


def footer(machine: str) -> str:
    """What `describe` said before, the load now, and the threads that were allowed."""
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    return f"{machine}, after {os.getloadavg()[0]:.1f}; OMP_NUM_THREADS={threads}."


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median and, of several, the range: `12.3 (11.9-14.0)`."""
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    cells = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [cells[0], rule, *cells[1:]])


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
