"""The versions, the hardware and the time of a run, for its record."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from workflows import __version__
from workflows.runs.folder import PACKAGE

VERSIONS_OF = ("ray", "torch", "gymnasium", "numpy")


def circumstances() -> dict[str, Any]:
    """Return the versions of what runs here, the cluster's hardware, and the time."""
    import ray

    resources = ray.cluster_resources()
    nodes = [name for name in resources if name.startswith("node:") and name != "node:__internal_head__"]
    prefix = "accelerator_type:"
    accelerators = [name.removeprefix(prefix) for name in resources if name.startswith(prefix)]
    versions = {PACKAGE: __version__, "python": platform.python_version()}
    versions |= {name: _version(name) for name in VERSIONS_OF}
    return {
        "versions": {name: version for name, version in versions.items() if version},
        "hardware": {
            "nodes": len(nodes),
            "CPUs": resources.get("CPU", 0),
            "GPUs": resources.get("GPU", 0),
            "processor of the driver": _processor(),
            "accelerator": ", ".join(accelerators),
            "memory": f"{resources.get('memory', 0) / 1e9:.0f} GB for Ray's tasks",
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _version(package: str) -> str:
    """Return a package's version, or "" if it isn't installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """Return the name of this machine's processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
