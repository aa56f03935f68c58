"""What a search and a training have in common once they have a Tuner: Tune's settings, its end, its log, its record."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import signal
import time
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflows import __version__
from workflows.cli.flags import INTERRUPTED

if TYPE_CHECKING:
    from ray import tune

    from workflows.experiment.ray_cluster import Cluster


VERSIONS_OF = ("ray", "torch", "gymnasium", "numpy")


def quiet_tune() -> None:
    """Keep Tune from printing, and have it save its state often; it reads these when it starts."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # with verbose=0, the only way to keep Tune from printing
    os.environ.setdefault(
        "TUNE_GLOBAL_CHECKPOINT_S", "1"
    )  # seconds between saves of the run's state; Ray's 10 lose more to a kill
    os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"


def fit(tuner: tune.Tuner, shown: AbstractContextManager[None], program: str, run_dir: Path) -> int:
    """Fit beside what is shown; return 0, or the exit code where Tune itself could not end in order."""
    from workflows.experiment import console

    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with shown:
            tuner.fit()
        return 0
    except KeyboardInterrupt:  # the second one: Tune takes the first, and ends in order
        ended, exit_code = "interrupted", INTERRUPTED
    except Exception as error:  # of Tune's own: a disk that is full, say
        logging.getLogger("ray").exception("the run ended")
        ended, exit_code = (
            f"FAILED    {type(error).__name__}: {' '.join(str(error).split())[:300]} ({run_dir / 'ray.log'})",
            1,
        )
    finally:
        signal.signal(signal.SIGINT, on_interrupt)  # Tune keeps its own, which swallows the next Ctrl-C
    console.say(ended)
    console.say(f"to go on: {console.resume_command(program, run_dir)}")
    console.say(f"to see how far it came: {console.command('analyze')} {shlex.quote(str(run_dir))}")
    return exit_code


def keep_rays_log(run_dir: Path) -> None:
    """Send what Ray would print to a file in the run's folder: the console stays clean, and nothing is lost."""
    handler = logging.FileHandler(run_dir / "ray.log", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("ray")
    logger.setLevel(logging.WARNING)
    logger.handlers = [handler]
    logger.propagate = False


def hardware(cluster: Cluster) -> str:
    """Return what there is to run on, in words."""
    return f"{cluster.resources.get('CPU', 0):g} CPUs, {cluster.resources.get('GPU', 0):g} GPUs"


def circumstances() -> dict[str, Any]:
    """Return with what a run was run, on what, and when, for its record."""
    import ray

    resources = ray.cluster_resources()
    accelerators = [
        name.removeprefix("accelerator_type:") for name in resources if name.startswith("accelerator_type:")
    ]
    return {
        "versions": {"ray-training-workflows": __version__, "python": platform.python_version()}
        | {name: version for name in VERSIONS_OF if (version := _version(name))},
        "hardware": {
            "nodes": sum(name.startswith("node:") and name != "node:__internal_head__" for name in resources),
            "CPUs": resources.get("CPU", 0),
            "GPUs": resources.get("GPU", 0),
            "processor of the driver": _processor(),
            "accelerator": ", ".join(accelerators),
            "memory": f"{resources.get('memory', 0) / 1e9:.0f} GB for Ray's tasks",
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _version(name: str) -> str | None:
    """Return the version of a package, or None where it is no installed one: this project may be a folder on PYTHONPATH."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the name of this machine's processor."""
    try:
        names = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
    except OSError:
        names = []
    return (names or [platform.processor() or platform.machine()])[0]


def analyse(run_dir: Path, tables_only: bool = False) -> tuple[int, str]:
    """Write tables, figures and the page of a run that has ended; return 0 and "", or the exit code and why that could not be done."""
    from workflows import results
    from workflows.experiment import console
    from workflows.report import write as analysis

    again = f"to try again: {console.command('analyze')} {shlex.quote(str(run_dir))}"
    try:
        (analysis.write_tables if tables_only else analysis.write)(results.load(run_dir), run_dir)
        return 0, ""
    except KeyboardInterrupt:
        return INTERRUPTED, f"interrupted before the report was written; {again}"
    except Exception as error:  # a disk that is full, say
        logging.getLogger("ray").exception("the report was not written")
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return 1, f"FAILED    the report: {reason} ({run_dir / 'ray.log'}); {again}"


def trial_id(trial: Any) -> str:
    """Return a trial's name, and its folder's: its id."""
    return str(trial.trial_id)
