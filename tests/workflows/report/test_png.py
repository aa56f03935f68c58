"""Pictures: whole PNGs that open, or an OSError and nothing."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_folders import make_run, make_training, trial

from workflows import results
from workflows.report import figures, png, sample_grids
from workflows.report.charts import Axis, Chart, Panel, Series

LINES = Panel("updates", "fid", [Series("t_0", [1, 2], [3.0, 4.0], "best", ["t_0"] * 2, marks=True)])
POINTS = Panel(
    "lr",
    "fid",
    [Series("", ["a", "b"], [3.0, 4.0], "ended", ["t_0", "t_1"])],
    "points",
    names=["a", "b", "c"],
)
BARS = Panel("importance", "", [Series("", ["lr", "width"], [0.7, 0.3])], "bars")
PARALLEL = Panel(
    "",
    "",
    kind="parallel",
    axes=[Axis("lr", [0.0, 1.0], {0.0: "1", 1.0: "2"}), Axis("fid", [5.0, 5.0], {5.0: "5"})],
)


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        pixels: np.ndarray = np.asarray(picture.convert("L"))
    return pixels


@pytest.mark.parametrize(
    "panels", [[LINES], [POINTS], [BARS], [PARALLEL], [LINES] * 4, [POINTS, LINES, POINTS]], ids=len
)
def test_a_chart_of_any_kind_is_a_picture(tmp_path: Path, panels: list[Panel]) -> None:
    png.draw(Chart("name", "title", "caption", panels), tmp_path / "figures" / "name.png")
    pixels = opened(tmp_path / "figures" / "name.png")
    rows = -(-len(panels) // 3)
    assert pixels.shape[0] == pytest.approx((3.6 * rows + 0.4) * 110, abs=1)
    assert pixels.std() > 5
    assert os.listdir(tmp_path / "figures") == ["name.png"]


def test_every_chart_of_a_search_and_of_a_training_is_a_picture(tmp_path: Path) -> None:
    trials = [
        trial(i, 9, 8 - i / 9, lr=10.0**-i, width=[16, 32][i % 2], off=[None, 0.5][i % 2]) for i in range(30)
    ]
    made = make_run(tmp_path / "search", trials, max_updates=20, baseline={"lr": 1, "width": 16, "off": None})
    for run in (made, make_training(tmp_path / "training", [20.0, None, 50.0])):
        drawn = figures.charts(results.load(run))
        assert len(drawn) == 4
        for chart in drawn:
            assert chart.panels
            png.draw(chart, run / "figures" / f"{chart.name}.png")
            opened(run / "figures" / f"{chart.name}.png")


@pytest.mark.parametrize(
    "text", ["$x^$", "$", "$$", r"\$\frac$", "größer 数 \U0001f600", "\x00\n\t", "_x"], ids=ascii
)
def test_texts_are_texts_whatever_is_in_them(tmp_path: Path, text: str) -> None:
    lines = Panel(text, text, [Series("a" + text, [1], [3.0], "", ["t_0"])], lines={"b" + text: 3.5})
    points = Panel(
        text,
        text,
        [Series("a" + text, [text, "b"], [3.0, 4.0], "ended", ["t_0", "t_1"])],
        "points",
        names=[text, "b"],
    )
    bars = Panel(text, "", [Series("", [text, "b"], [0.7, 0.3])], "bars")
    parallel = Panel(
        "",
        "",
        kind="parallel",
        axes=[Axis(text, [0.0, 1.0], {0.0: text, 1.0: "b"}), Axis("fid", [1.0, 2.0], {1.0: "1"})],
    )
    for name, panels in {"several": [lines, points, bars], "parallel": [parallel]}.items():
        png.draw(Chart(name, text, text, panels), tmp_path / f"{name}.png")
        opened(tmp_path / f"{name}.png")


@pytest.mark.parametrize("values", [[1e199, -1e199], [5e-324, 1e-320], [0.0, 0.0], [5e-324, 1e199]], ids=str)
@pytest.mark.parametrize("log", [False, True])
def test_numbers_of_any_size_can_be_drawn(tmp_path: Path, values: list[float], log: bool) -> None:
    if log and min(values) <= 0:
        return
    panel = Panel(
        "updates", "fid", [Series("t_0", [10, 20], values, "best", ["t_0"] * 2, marks=True)], log_y=log
    )
    png.draw(Chart("name", "title", "caption", [panel]), tmp_path / "name.png")
    opened(tmp_path / "name.png")
    axes = [
        Axis("a", values, {values[0]: "x"}),
        Axis("b", [math.nan, 1.0], {1.0: "1"}),
        Axis("fid", values, {values[0]: "x"}),
    ]
    png.draw(
        Chart("name", "title", "caption", [Panel("", "", kind="parallel", axes=axes)]), tmp_path / "name.png"
    )
    opened(tmp_path / "name.png")


def test_a_folder_that_cant_be_written_is_an_os_error_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    chart = Chart("name", "title", "caption", [LINES])
    for path in (tmp_path / "file" / "name.png", tmp_path / "nowhere" / "figures" / "name.png"):
        with pytest.raises(OSError):
            png.draw(chart, path)
    assert os.listdir(tmp_path) == ["file"]

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "name.png").write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        png.draw(chart, tmp_path / "figures" / "name.png")
    assert os.listdir(tmp_path / "figures") == ["name.png"]
    assert (tmp_path / "figures" / "name.png").read_text() == "old"


# Sample grids


def grids(run_dir: Path, **pictures: Any) -> Path:
    """Make a trial's sample grids, each of one gray or of these bytes."""
    folder = run_dir / "t_0" / "samples"
    folder.mkdir(parents=True)
    for name, gray in pictures.items():
        if isinstance(gray, bytes):
            (folder / f"{name}.png").write_bytes(gray)
        else:
            Image.new("L", (40, 20), gray).save(folder / f"{name}.png")
    return folder


def test_grids_lie_side_by_side_in_the_order_of_their_updates(tmp_path: Path) -> None:
    grids(
        tmp_path,
        **{
            "000000": 10,
            "000250": 60,
            "002000": 110,
            "010000": 160,
            "000250_digits": 250,
            "latent": 251,
            "x9": 252,
            "²": 253,
        },
    )
    path = sample_grids.progress(tmp_path, "t_0", tmp_path / "samples")
    assert path == tmp_path / "samples" / "t_0_progress.png"
    assert os.listdir(tmp_path / "samples") == ["t_0_progress.png"]
    page = opened(path)
    assert page.shape == (2 * (10 + 18 + 8), 3 * (20 + 8) + 8)  # three in a row, at half their size
    assert [int(page[18 + 5, 8 + 28 * column + 10]) for column in range(3)] == [10, 60, 110]
    assert int(page[36 + 18 + 5, 8 + 10]) == 160
    assert not set(np.unique(page[18:28])) & {250, 251, 252, 253}, "and no other pictures"


@pytest.mark.parametrize("broken", ["empty", "cut", "text", "overwritten", "of no length"])
def test_a_grid_that_is_broken_leaves_no_page_and_no_half_of_one(tmp_path: Path, broken: str) -> None:
    folder = grids(tmp_path, **{"000000": 10})
    Image.effect_noise((40, 20), 50).save(folder / "000250.png")
    whole = (folder / "000250.png").read_bytes()
    data = whole.index(b"IDAT")
    blobs = {
        "empty": b"",
        "cut": whole[:-200],
        "text": b"no picture",
        "overwritten": whole[: data + 50] + b"no picture" + whole[data + 60 :],
        "of no length": whole[: data - 4] + b"\0\0\0\0" + whole[data:],
    }
    (folder / "000250.png").write_bytes(blobs[broken])
    assert sample_grids.progress(tmp_path, "t_0", tmp_path / "samples") is None
    assert not (tmp_path / "samples").exists()


def test_without_grids_there_is_no_page(tmp_path: Path) -> None:
    assert sample_grids.progress(tmp_path, "t_0", tmp_path) is None
    assert not list(tmp_path.iterdir())
