"""What the callback writes, read back as TensorBoard reads it. Whole runs: test_tune_gan, test_train_dqn."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ray import cloudpickle
from ray.tune.logger import TBXLoggerCallback
from ray.tune.utils.callback import _create_default_callbacks

from algorithms.generative.images import save_png
from workflows.experiment.tensorboard import EventFile, TensorBoard, plain, read_png

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")


class FakeTrial:
    """A trial whose events are written to `staged` and whose pictures come to `path`, as Tune's do."""

    def __init__(self, folder: Path) -> None:
        self.trial_id, self.evaluated_params = "abc_00000", {"lr": 0.5}
        self.path, self.local_path = (
            str(folder / "run" / self.trial_id),
            str(folder / "staged" / self.trial_id),
        )

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(parents=True, exist_ok=True)


@pytest.fixture
def trial(tmp_path: Path) -> FakeTrial:
    return FakeTrial(tmp_path)


def callback() -> TensorBoard:
    return TensorBoard("updates", "fid")


def report(iteration: int = 1, config: dict[str, Any] | None = None, **metrics: Any) -> dict[str, Any]:
    return {
        "training_iteration": iteration,
        "updates": 250 * iteration,
        "config": {} if config is None else config,
        **metrics,
    }


def draw(trial: FakeTrial, name: str, ink: int = 200) -> bytes:
    path = Path(trial.path) / "samples" / name
    save_png(np.full((5, 7), ink, np.uint8), path)
    return path.read_bytes()


def read(trial: FakeTrial) -> Any:
    """Everything in the trial's event files."""
    return event_accumulator.EventAccumulator(
        trial.local_path, size_guidance={"images": 0, "scalars": 0}
    ).Reload()


def images(trial: FakeTrial, tag: str = "samples") -> dict[int, bytes]:
    """Step -> PNG, in the order in which they were written; each once."""
    events = read(trial).Images(tag) if tag in read(trial).Tags()["images"] else []
    assert len({event.step for event in events}) == len(events)
    return {event.step: event.encoded_image_string for event in events}


def test_a_metric_is_a_curve_over_updates_and_what_is_no_number_is_left_out(
    trial: FakeTrial, capfd: pytest.CaptureFixture[str]
) -> None:
    writer = callback()
    writer.log_trial_start(trial)
    for iteration, fid in enumerate((9.0, math.nan, 4.0, math.inf), start=1):
        nested = {
            "env_runners": {
                "episode_return_mean": None if iteration == 1 else np.float32(7.5),
                "dropped": [],
                "name": "x",
            }
        }
        writer.log_trial_result(iteration, trial, report(iteration, fid=fid, done=False, **nested))
    writer.log_trial_end(trial)
    found = read(trial)
    assert [(event.step, event.value) for event in found.Scalars("ray/tune/fid")] == [
        (250, 9.0),
        (750, 4.0),
        (1000, math.inf),
    ]
    assert [event.step for event in found.Scalars("ray/tune/env_runners/episode_return_mean")] == [
        500,
        750,
        1000,
    ]
    assert sorted(found.Tags()["scalars"]) == [
        "ray/tune/done",
        "ray/tune/env_runners/episode_return_mean",
        "ray/tune/fid",
        "ray/tune/updates",
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.5, 0.5),
        (3, 3),
        (True, True),
        ("huber", "huber"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (None, "None"),
        (math.inf, "inf"),
        (((0, 1.0), (500, 0.02)), "((0, 1.0), (500, 0.02))"),
    ],
    ids=repr,
)
def test_a_hyperparameter_is_a_number_where_it_can_be_and_words_where_not(value: Any, written: Any) -> None:
    assert (plain(value), type(plain(value))) == (written, type(written))


def test_every_hyperparameter_of_the_report_is_there_with_the_metric_from_the_first_report_on(
    trial: FakeTrial,
) -> None:
    writer = callback()
    writer.log_trial_start(trial)
    config = {
        "lr": 1e-3,
        "double_q": True,
        "activation": "relu",
        "grad_clip": math.inf,
        "epsilon": ((0, 1.0), (9, 0.1)),
        "cap": None,
    }
    writer.log_trial_result(1, trial, report(config=config, fid=3.0))

    content = read(trial).PluginTagToContent("hparams")
    values = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG]).hparams
    assert {
        name: value.number_value or value.bool_value or value.string_value for name, value in values.items()
    } == {
        "lr": 1e-3,
        "double_q": True,
        "activation": "relu",
        "grad_clip": "inf",
        "epsilon": "((0, 1.0), (9, 0.1))",
        "cap": "None",
    }
    experiment = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
    assert {info.name for info in experiment.hparam_infos} == set(config)
    assert [info.name.tag for info in experiment.metric_infos] == ["ray/tune/fid"]
    assert metadata.SESSION_END_INFO_TAG not in content


@pytest.mark.parametrize("failed", [False, True])
def test_only_a_trial_that_ended_well_is_shown_as_ended(trial: FakeTrial, failed: bool) -> None:
    writer = callback()
    writer.log_trial_start(trial)
    writer.log_trial_result(1, trial, report(fid=3.0))
    writer.log_trial_end(trial, failed=failed)
    assert (metadata.SESSION_END_INFO_TAG in read(trial).PluginTagToContent("hparams")) is not failed


def test_pictures_are_written_once_as_they_are_at_their_updates(trial: FakeTrial) -> None:
    writer = callback()
    writer.log_trial_start(trial)
    writer.log_trial_save(trial)  # there is no folder of pictures yet
    first = draw(trial, "000000.png", ink=1)
    (Path(trial.path) / "samples" / "notes.png").write_bytes(first)
    writer.log_trial_save(trial)
    assert images(trial) == {0: first}, "at once"
    later = {250: draw(trial, "000250.png", ink=2), 1_000_000: draw(trial, "1000000.png", ink=4)}
    manifold = draw(trial, "000250_manifold_2d.png", ink=3)
    writer.log_trial_save(trial)
    writer.log_trial_result(1, trial, report(fid=3.0))
    writer.log_trial_end(trial)
    assert images(trial) == {0: first} | later
    assert images(trial, "manifold_2d") == {250: manifold}
    assert read(trial).Tags()["images"] == ["samples", "manifold_2d"]
    with Image.open(io.BytesIO(images(trial)[250])) as picture:
        assert np.asarray(picture).tolist() == [[2] * 14] * 10
    event = read(trial).Images("samples")[0]
    assert (event.height, event.width) == (10, 14)


def test_a_picture_cut_short_is_tried_again_and_holds_up_the_later_ones_till_the_end(
    trial: FakeTrial,
) -> None:
    writer = callback()
    writer.log_trial_start(trial)
    whole = {step: draw(trial, f"{step:06d}.png", ink=step // 250) for step in (0, 250, 500)}
    other = draw(trial, "000500_other.png")
    samples = Path(trial.path) / "samples"
    (samples / "000250.png").write_bytes(whole[250][:50])
    (samples / "000000.png").write_bytes(b"")
    writer.log_trial_save(trial)
    assert images(trial) == {}, "TensorBoard would forget it at the next, older one"
    assert images(trial, "other") == {500: other}
    (samples / "000000.png").write_bytes(whole[0])
    writer.log_trial_save(trial)
    assert list(images(trial)) == [0]
    writer.log_trial_end(trial)
    assert images(trial) == {0: whole[0], 500: whole[500]}, "and 250 is lost"


def test_half_a_png_is_none_wherever_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "000000.png"
    save_png(np.random.default_rng(0).integers(0, 256, (6, 6), np.uint8), path)
    blob = path.read_bytes()
    for size in range(len(blob)):
        path.write_bytes(blob[:size])
        assert read_png(path) is None, f"cut to {size} of {len(blob)} bytes"
    path.write_bytes(blob)
    assert read_png(path).encoded_image_string == blob
    assert read_png(tmp_path / "gone.png") is None
    assert read_png(tmp_path) is None


def test_the_copy_that_a_resumed_run_has_writes_what_it_finds_in_order(
    trial: FakeTrial, tmp_path: Path
) -> None:
    writer = callback()
    writer.log_trial_start(trial)
    drawn = {step: draw(trial, f"{step:06d}.png") for step in (0, 250)}
    writer.log_trial_result(1, trial, report(fid=3.0))
    writer.log_trial_save(trial)
    copy = cloudpickle.loads(cloudpickle.dumps(writer))  # in the middle of a run, with a file that is open
    before = images(trial)
    writer.log_trial_end(trial)

    trial.local_path = str(tmp_path / "another session's")
    drawn[500] = draw(trial, "000500.png")
    copy.log_trial_save(trial)  # of a trial that it has not seen start
    copy.log_trial_result(2, trial, report(2, fid=2.0))
    copy.log_trial_save(trial)
    copy.log_trial_save(trial)
    copy.log_trial_end(trial)
    assert before == {0: drawn[0], 250: drawn[250]}
    assert list(images(trial).items()) == list(drawn.items())
    assert [(event.step, event.value) for event in read(trial).Scalars("ray/tune/fid")] == [(500, 2.0)]


def test_a_full_disk_is_an_error_and_no_endless_wait(tmp_path: Path) -> None:
    events = EventFile(str(tmp_path))
    records = events.file_writer.event_writer._ev_writer._py_recordio_writer
    events.add_scalar("loss", 1.0, 0)
    good = records._writer
    with (
        open("/dev/full", "wb", buffering=0) as records._writer,
        pytest.raises(OSError, match="No space left"),
    ):
        events.add_scalar("loss", 2.0, 1)
    records._writer = good
    events.close()


def test_it_stands_in_for_tunes_own() -> None:
    callbacks = _create_default_callbacks([callback()])
    assert [type(each) for each in callbacks if isinstance(each, TBXLoggerCallback)] == [TensorBoard]
