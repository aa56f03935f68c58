"""Pictures made of what a run left behind."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

PER_ROW = 3
_CAPTION_HEIGHT, _GAP = 18, 8


def progress(run_dir: Path, trial_id: str) -> Path | None:
    """Lay a trial's sample grids side by side, each under its number of updates.

    Return the PNG's path, or None if the trial drew none that can be read.
    """
    pictures = sorted((run_dir / trial_id / "samples").glob("*[0-9].png"))  # of samples, not of anything else
    if not pictures:
        return None
    try:
        grids = [Image.open(picture).convert("L") for picture in pictures]
    except OSError:  # cut short
        return None
    width, height = (size // 2 for size in grids[0].size)  # pixel for pixel: grids are drawn at twice their size
    columns, rows = min(PER_ROW, len(grids)), -(-len(grids) // PER_ROW)
    page = Image.new("L", (columns * (width + _GAP) + _GAP, rows * (height + _CAPTION_HEIGHT + _GAP)), 255)
    for index, (picture, grid) in enumerate(zip(pictures, grids, strict=True)):
        left = _GAP + index % PER_ROW * (width + _GAP)
        top = index // PER_ROW * (height + _CAPTION_HEIGHT + _GAP)
        ImageDraw.Draw(page).text((left, top + 3), f"{int(picture.stem)} updates", fill=0, font_size=12)
        page.paste(grid.resize((width, height), Image.Resampling.NEAREST), (left, top + _CAPTION_HEIGHT))
    path = run_dir / "samples" / f"{trial_id}_progress.png"
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    page.save(temporary, format="PNG")
    temporary.replace(path)
    return path
