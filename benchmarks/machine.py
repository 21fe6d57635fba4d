"""The machine that a benchmark ran on, in words that mean something elsewhere: never its name."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

import vitdecomp

DISTRIBUTIONS = {
    "captum": "captum",
    "legrad": "legrad-torch",
    "matplotlib": "matplotlib",
    "nnsight": "nnsight",
    "numpy": "numpy",
    "open_clip": "open_clip_torch",
    "pytorch_grad_cam": "grad-cam",
    "timm": "timm",
    "torch": "torch",
}
"""A module to what is installed for it."""


@dataclass(frozen=True)
class Machine:
    """What figures depend on.

    Attributes:
        cpu: name of the processor. capability: the vector instructions that torch uses. cores: that may be used.
        threads: that torch was told to use. memory: bytes. gpu: its name, and gpu_memory: its bytes; none is `""`, 0.
        system: of the operating system and the processor. python: its version. versions: of what is installed.
        load: processes that waited for a core when the run began, over the last minute.
    """

    cpu: str
    capability: str
    cores: int
    threads: int
    memory: int
    gpu: str
    gpu_memory: int
    system: str
    python: str
    versions: dict[str, str]
    load: float

    @classmethod
    def here(cls, device: str, threads: int) -> Machine:
        """Describe the machine that this process runs on; its GPU only if it is used."""
        gpu = torch.cuda.get_device_properties(device) if device.startswith("cuda") else None
        return cls(
            cpu=_cpu(),
            capability=torch.backends.cpu.get_cpu_capability(),
            cores=_cores(),
            threads=threads,
            memory=_memory(),
            gpu=gpu.name if gpu else "",
            gpu_memory=gpu.total_memory if gpu else 0,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            versions=_versions(),
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        )

    def sentence(self) -> str:
        """Return all of it in three sentences."""
        parts = [
            f"{self.gpu}, {self.gpu_memory / 2**30:.0f} GiB" if self.gpu else "",
            f"{self.cpu} ({self.capability})",
            f"{counted(self.cores, 'core')}, of which torch uses {self.threads}",
            f"{self.memory / 2**30:.0f} GiB of memory" if self.memory else "",
            self.system,
        ]
        known = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{'; '.join(part for part in parts if part)}. Python {self.python}, {known}. "
            f"{self.load:.1f} processes were running when it began."
        )


def counted(n: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def missing(module: str) -> str:
    """Say that a library is not installed; empty if it is."""
    return "" if find_spec(module) else f"not installed: {DISTRIBUTIONS.get(module, module)}"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int:
    names = getattr(os, "sysconf_names", {})
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in names else 0


def _versions() -> dict[str, str]:
    found = {"vitdecomp": vitdecomp.__version__}
    for name in sorted(DISTRIBUTIONS.values(), key=str.lower):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
