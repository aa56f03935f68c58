"""Writes a run for `tensorboard --logdir RUN_DIR`: curves, hyperparameters and pictures, by trial.

    report ------------> ray/tune/<metric>, at its number of updates or of environment steps
    first report ------> HParams: the report's `config`, and the name of the run's metric
    checkpoint, end ---> TRIAL_ID/samples/NNNNNN.png as image `samples`, at step NNNNNN
                         TRIAL_ID/samples/NNNNNN_<name>.png as image `<name>`

Writing needs only tensorboardX, which comes with Tune. TensorBoard itself is the extra `tensorboard`.
"""

from __future__ import annotations

import io
import logging
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ray.tune.logger import TBXLoggerCallback
from ray.tune.result import TIMESTEPS_TOTAL, TRAINING_ITERATION
from tensorboardX import SummaryWriter  # type: ignore[import-untyped]
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboardX.summary import hparams  # type: ignore[import-untyped]

from workflows.runs.files import read_pictures

PNG_END = b"IEND\xaeB`\x82"
SCALARS = "ray/tune"
"""Tune's prefix of every metric."""

# Without a handler, Python prints tensorboardX's `NaN or Inf found` to the console.
logging.getLogger("tensorboardX").addHandler(logging.NullHandler())


class EventFile(SummaryWriter):
    """A trial's event file, written in the caller's thread, so that a full disk raises.

    tensorboardX's own writer thread would die of a full disk, and the next write would wait forever.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        events = self.file_writer.event_writer
        events.add_event = events._ev_writer.write_event


class TensorBoard(TBXLoggerCallback):
    """Replaces Tune's own TensorBoard callback; adds hyperparameters from the first report on, and pictures.

    Tune pickles the callback without its list of written pictures. A resumed run therefore writes
    the pictures of its trials again, in order. TensorBoard shows each picture once.
    """

    def __init__(self, step: str, metric: str) -> None:
        super().__init__()
        self._summary_writer_cls = EventFile
        self._step, self._metric = step, metric
        self._written: dict[Any, set[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without what belongs to trials: their open files."""
        return self.__dict__ | {"_trial_writer": {}, "_trial_result": {}, "_written": {}}

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Write a report's metrics; before the first report, its hyperparameters."""
        if trial not in self._trial_writer:
            self.log_trial_start(trial)
        if not self._trial_result[trial]:
            config = {name: plain(value) for name, value in result["config"].items()}
            experiment, start, _ = hparams(config, {f"{SCALARS}/{self._metric}": 0})
            for summary in (experiment, start):
                self._trial_writer[trial].file_writer.add_summary(summary)
        # Tune takes the first of these two that isn't None as the step, and draws a curve of neither.
        step = {TIMESTEPS_TOTAL: None, TRAINING_ITERATION: int(result[self._step])}
        super().log_trial_result(iteration, trial, result | step)

    def log_trial_save(self, trial: Any) -> None:
        """Write the new pictures. Tune has finished copying the trial's files to the run folder by now."""
        if trial in self._trial_writer:
            self._write_pictures(trial)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Write the remaining pictures, and close the file."""
        if trial in self._trial_writer:
            self._write_pictures(trial, last=True)
            # A failed trial may continue in a resumed run. TensorBoard would keep showing its first end.
            if not failed:
                self._trial_writer[trial].file_writer.add_summary(hparams({}, {})[2])
        super().log_trial_end(trial, failed)
        self._written.pop(trial, None)

    def _try_log_hparams(self, trial: Any, result: dict[str, Any]) -> None:
        """Do nothing: Tune would write the hyperparameters at the end, and only those that are searched."""

    def _write_pictures(self, trial: Any, last: bool = False) -> None:
        """Write the new pictures, each tag's in order: when steps go back, TensorBoard drops the later ones.

        An unreadable picture holds up the later ones of its tag, except at the `last` call.
        """
        series: dict[str, list[tuple[int, Path]]] = defaultdict(list)
        writer, written = self._trial_writer[trial], self._written.setdefault(trial, set())
        for tag, step, path in read_pictures(Path(trial.path)):
            if path.name not in written:
                series[tag].append((step, path))
        for tag, pictures in series.items():
            for step, path in pictures:
                image = read_png(path)
                if image is not None:
                    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
                    writer.file_writer.add_summary(summary, step)
                    written.add(path.name)
                elif not last:
                    break
        writer.flush()


def plain(value: Any) -> str | bool | float:
    """Return a hyperparameter as the HParams tab can show it; a schedule, None or infinity becomes text."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def read_png(path: Path) -> Any:
    """Return a PNG as TensorBoard's image, byte for byte; None if the file is missing or incomplete."""
    try:
        blob = path.read_bytes()
        with Image.open(io.BytesIO(blob), formats=["PNG"]) as picture:
            picture.load()
            size = {"height": picture.height, "width": picture.width, "colorspace": len(picture.getbands())}
    except Exception:  # Pillow raises many kinds for half a file
        return None
    return Summary.Image(**size, encoded_image_string=blob) if blob.endswith(PNG_END) else None
