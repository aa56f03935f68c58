"""Finds the policy that a training saved last."""

from __future__ import annotations

from pathlib import Path

from workflows.cli.flags import UsageError
from workflows.cli.terminal import error_text
from workflows.programs import PROGRAMS, program_of
from workflows.runs.files import RUN_FILE, read_run

POLICY_FILE = "policy.json"  # as in algorithms.rl.policy_files, whose import takes seconds


def newest_policy(run_dir: Path, trial: str | None) -> Path:
    """Return a trial's newest checkpoint that has a policy.

    `trial` is a trial_id or an ending that no other has; None stands for the only trial. Raises UsageError.
    """
    try:
        record = read_run(run_dir)
        name = str(record["program"])
        program = program_of(record)
    except Exception as error:  # whatever the file may hold
        reason = error_text(error)
        raise UsageError(f"{run_dir} can't be read; is its {RUN_FILE} broken? ({reason})") from None
    if program.kind == "search":
        known = ", ".join(row.name for row in PROGRAMS.values() if row.kind == "training")
        raise UsageError(f"{run_dir} is a run of {name}, which has no policy; play.py knows {known}")
    saved = sorted(run_dir.glob(f"*/checkpoint_*/{POLICY_FILE}"))
    newest = {file.parents[1].name: file.parent for file in saved}
    if not newest:
        raise UsageError(f"{run_dir} has no checkpoint with a {POLICY_FILE} yet")
    found = [trial_id for trial_id in newest if trial is None or (trial and trial_id.endswith(trial))]
    if len(found) != 1:
        wrong = "must be given: one" if trial is None else f"{trial!r} fits {len(found) or 'none'}"
        raise UsageError(f"--trial {wrong} of the trials with a policy ({', '.join(newest)})")
    return newest[found[0]]
