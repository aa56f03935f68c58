"""What `tensorboard --logdir RUN_DIR` shows: curves, hyperparameters and sample grids; every trial's folder is a run there.

    report ------------> ray/tune/<metric>, at the step that a person compares by: updates, or environment steps
    its first report --> HParams: the report's `config`, beside the metric of the run
    checkpoint, end ---> TRIAL_ID/samples/NNNNNN.png and NNNNNN_<name>.png as images `samples` and `<name>`, at step NNNNNN

Writing needs tensorboardX alone, which Tune brings along; TensorBoard itself is the extra `tensorboard`.
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
"""Where Tune puts every metric."""

logging.getLogger("tensorboardX").addHandler(
    logging.NullHandler()
)  # or Python prints its `NaN or Inf found` to the console


class EventFile(SummaryWriter):
    """A trial's event file, written at once.

    tensorboardX writes it in a thread, which dies of a full disk; then what is to be written next waits for it, for ever. This one raises.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        events = self.file_writer.event_writer
        events.add_event = events._ev_writer.write_event


class TensorBoard(TBXLoggerCallback):
    """Tune's own TensorBoard callback, and instead of it; see above for what it does besides.

    Tune pickles it: a resumed run has a copy that knows of no picture, and writes those of the trials that go on once more, in order.
    TensorBoard shows each once, and one that a kill cut off is there then.
    """

    def __init__(self, step: str, metric: str) -> None:
        super().__init__()
        self._summary_writer_cls = EventFile
        self._step, self._metric = step, metric
        self._written: dict[Any, set[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave what belongs to trials behind: their files are open."""
        return self.__dict__ | {"_trial_writer": {}, "_trial_result": {}, "_written": {}}

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Write a report's metrics; before the first, what was configured."""
        if trial not in self._trial_writer:
            self.log_trial_start(trial)
        if not self._trial_result[trial]:
            config = {name: plain(value) for name, value in result["config"].items()}
            experiment, start, _ = hparams(config, {f"{SCALARS}/{self._metric}": 0})
            for summary in (experiment, start):
                self._trial_writer[trial].file_writer.add_summary(summary)
        # Tune's step is the first of these two that is there, and neither becomes a curve.
        super().log_trial_result(
            iteration, trial, result | {TIMESTEPS_TOTAL: None, TRAINING_ITERATION: int(result[self._step])}
        )

    def log_trial_save(self, trial: Any) -> None:
        """Write the new pictures: by now Tune has copied the trial's files to the run folder, and is not just copying any."""
        if trial in self._trial_writer:
            self._write_pictures(trial)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Write what is left of the pictures, and close the file."""
        if trial in self._trial_writer:
            self._write_pictures(trial, last=True)
            if (
                not failed
            ):  # a failed one may go on in a resumed run, and TensorBoard would still show that it failed
                self._trial_writer[trial].file_writer.add_summary(hparams({}, {})[2])
        super().log_trial_end(trial, failed)
        self._written.pop(trial, None)

    def _try_log_hparams(self, trial: Any, result: dict[str, Any]) -> None:
        """Do nothing where Tune would write what was searched, and that only at the end."""

    def _write_pictures(self, trial: Any, last: bool = False) -> None:
        """Write the pictures that aren't yet, each tag's in order; one that can't be read holds up the later ones until the last time.

        Where a tag's steps go back, TensorBoard takes it for a resumed run and forgets what it had from there on.
        """
        series: dict[str, list[tuple[int, Path]]] = defaultdict(list)
        written = self._written.setdefault(trial, set())
        for tag, step, path in read_pictures(Path(trial.path)):
            if path.name not in written:
                series[tag].append((step, path))
        for tag, pictures in series.items():
            for step, path in pictures:
                image = read_png(path)
                if image is not None:
                    self._trial_writer[trial].file_writer.add_summary(
                        Summary(value=[Summary.Value(tag=tag, image=image)]), step
                    )
                    written.add(path.name)
                elif not last:
                    break
        self._trial_writer[trial].flush()


def plain(value: Any) -> str | bool | float:
    """Return a hyperparameter as the HParams tab can hold it: a schedule, None or infinity in words."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def read_png(path: Path) -> Any:
    """Return a PNG, byte for byte, as an image of TensorBoard's; None if it can't be read: cut short, or gone."""
    try:
        blob = path.read_bytes()
        with Image.open(io.BytesIO(blob), formats=["PNG"]) as picture:
            picture.load()
            size = {"height": picture.height, "width": picture.width, "colorspace": len(picture.getbands())}
    except Exception:  # whatever Pillow may raise of half a file
        return None
    return Summary.Image(**size, encoded_image_string=blob) if blob.endswith(PNG_END) else None
