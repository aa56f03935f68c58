"""Videos: every frame of one whole episode, written whole or not at all."""

import importlib.util
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from policy_folders import CARTPOLE, Uneven, describe, save

from algorithms.rl.play import Player
from algorithms.rl.policy_files import PolicyDescription
from algorithms.rl.video import VideoFailed, record

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("av", "pygame")),
    reason="needs the extra `video`: make install",
)
UNEVEN = f"{Uneven.__module__}.Uneven"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    monkeypatch.chdir(tmp_path / "videos")
    monkeypatch.setattr(Uneven, "numbers", itertools.count())


def drawn(tmp_path: Path, name: str, description: PolicyDescription = CARTPOLE, seed: int = 0) -> list[float]:
    """Draw an episode of a policy that does badly; return its rewards."""
    save(tmp_path / "policy", description, sign=-1.0)
    player = Player(tmp_path / "policy")
    return record(player, player.make_creator(), np.random.SeedSequence(seed), Path(name).absolute())


def frames(path: str) -> Iterator[np.ndarray]:
    """Decode a video, made at 50 frames per second if it is a GIF."""
    import av

    if path.lower().endswith(".gif"):
        with Image.open(path) as picture:
            for i in range(getattr(picture, "n_frames", 1)):
                picture.seek(i)
                num_same = round(picture.info["duration"] / 20)  # equal frames are stored as one
                yield from itertools.repeat(np.asarray(picture.convert("RGB")), num_same)
    else:
        with av.open(path) as container:
            yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


@pytest.mark.parametrize("name", ["a.mp4", "b.GIF"])
def test_a_video_has_every_frame_of_a_whole_episode(tmp_path: Path, name: str) -> None:
    Path(name).write_text("something else, which is replaced")
    rewards = drawn(tmp_path, name)
    pictures = list(frames(name))
    assert rewards == [1.0] * len(rewards)
    assert len(pictures) == len(rewards) + 1
    assert {picture.shape for picture in pictures} == {(400, 600, 3)}
    assert (pictures[0] > 250).mean() > 0.8, "a white screen with a cart"
    assert (pictures[0] != pictures[-1]).any(), "and it moves"
    assert os.listdir() == [name]


def test_a_seed_fixes_the_frames(tmp_path: Path) -> None:
    for name, seed in (("a.gif", 1), ("b.gif", 1), ("c.gif", 2)):
        drawn(tmp_path, name, seed=seed)
    assert Path("a.gif").read_bytes() == Path("b.gif").read_bytes() != Path("c.gif").read_bytes()


def test_odd_sizes_are_cut_to_even_ones(tmp_path: Path) -> None:
    Uneven.numbers = itertools.count(2)
    drawn(tmp_path, "a.mp4", describe(UNEVEN))
    dark, bright = frames("a.mp4")
    assert dark.shape == (30, 40, 3)
    assert abs(dark.mean() - 0) < 5
    assert abs(bright.mean() - 20) < 5


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    Path(name).write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    message = f"{Path(name).absolute()} can't be written (OSError: [Errno 28] No space left on device)"
    with pytest.raises(VideoFailed, match=f"^{re.escape(message)}$"):
        drawn(tmp_path, name)
    assert os.listdir() == [name]
    assert Path(name).read_text() == "old"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"shape": [4, 4]},
            "the episode can't be drawn (TypeError: in render_mode 'rgb_array' the env gives no uint8 "
            "[height, width, 3]",
        ),
        ({"fails": True}, "the episode can't be drawn (OSError: the simulator is gone)"),
        ({"shape": [1, 1, 3]}, "a.mp4 can't be written ("),
    ],
)
def test_a_failure_is_one_line_and_leaves_no_file(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(VideoFailed, match=re.escape(words)) as failed:
        drawn(tmp_path, "a.mp4", describe(UNEVEN, **config))
    assert "\n" not in str(failed.value)
    assert os.listdir() == []
