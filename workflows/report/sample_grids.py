"""Lays a trial's sample grids side by side, so that a glance shows how it learned."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from workflows.runs.files import SAMPLES, read_pictures

PER_ROW = 3
_CAPTION_HEIGHT, _GAP = 18, 8


def progress(run_dir: Path, trial_id: str, output: Path) -> Path | None:
    """Write OUTPUT/TRIAL_ID_progress.png: the trial's sample grids, each under its number of updates.

    Return its path, or None if the trial drew no grid that can be read.
    """
    pictures = [
        (updates, path) for name, updates, path in read_pictures(run_dir / trial_id) if name == SAMPLES
    ]
    grids: list[Image.Image] = []
    for _, path in pictures:
        try:
            with Image.open(path) as opened:
                grids.append(opened.convert("L"))
        except (OSError, SyntaxError, ValueError):  # cut short, or broken otherwise
            return None
    if not grids:
        return None
    width, height = (size // 2 for size in grids[0].size)  # grids are drawn at twice their size
    columns, rows = min(PER_ROW, len(grids)), -(-len(grids) // PER_ROW)
    cell_height = height + _CAPTION_HEIGHT + _GAP
    page = Image.new("L", (columns * (width + _GAP) + _GAP, rows * cell_height), 255)
    for index, ((updates, _), grid) in enumerate(zip(pictures, grids, strict=True)):
        left = _GAP + index % PER_ROW * (width + _GAP)
        top = index // PER_ROW * cell_height
        ImageDraw.Draw(page).text((left, top + 3), f"{updates} updates", fill=0, font_size=12)
        page.paste(grid.resize((width, height), Image.Resampling.NEAREST), (left, top + _CAPTION_HEIGHT))
    path = output / f"{trial_id}_progress.png"
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".figure-") as folder:
        page.save(Path(folder, path.name))
        Path(folder, path.name).replace(path)
    return path
