"""python -m trainables.data DATASET: load a data set, say what it is, show it."""

import sys
from pathlib import Path

import numpy as np

from trainables.data.image_data import ImageData, load
from trainables.spec.errors import Parser, UsageError, exit_code


def contact_sheet(data: ImageData, path: Path, columns: int = 20) -> None:
    """Draw a picture: one row a class (the first 20), its first training images."""
    from matplotlib.figure import Figure

    channels, height, width = data.shape
    rows = min(len(data.classes), 20)
    sheet = np.zeros((rows, height + 2, columns, width + 2, channels), np.uint8)
    for row in range(rows):
        members = np.flatnonzero(data.train.labels == row)[:columns]
        images = data.train.images[members].transpose(0, 2, 3, 1)
        sheet[row, 1:-1, : len(members), 1:-1] = images.transpose(1, 0, 2, 3)
    picture = sheet.reshape(rows * (height + 2), columns * (width + 2), channels)
    figure = Figure(figsize=(12.6, 0.62 * rows), dpi=100)
    axes = figure.add_axes((0.1, 0.01, 0.89, 0.98))
    axes.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_yticks((np.arange(rows) + 0.5) * (height + 2), data.classes[:rows], fontsize=14)
    axes.set_xticks([])
    axes.tick_params(length=0)
    figure.savefig(path, format="png")


def main() -> None:
    parser = Parser(
        prog="python -m trainables.data", description="Load a data set, say what it is, show it."
    )
    parser.add_argument("dataset", help="glyphs, digits, mnist, …, folder:PATH")
    parser.add_argument("--data-dir", default="data", metavar="DIR")
    parser.add_argument("--image-size", type=int, default=0, metavar="PIXELS")
    parser.add_argument("--show", metavar="FILE.png", help="draw a contact sheet")
    options = parser.parse_args()
    if options.show and not Path(options.show).absolute().parent.is_dir():
        folder = Path(options.show).parent
        raise UsageError(f"--show: there is no folder {folder}; accepted: a file in one that is")
    if options.show and Path(options.show).is_dir():
        raise UsageError(f"--show: {options.show} is a folder; accepted: a file in one")
    data = load(options.dataset, data_dir=options.data_dir, image_size=options.image_size)
    channels, height, width = data.shape
    print(
        f"{data.name}: {len(data.train):,} train, {len(data.val):,} val, {len(data.test):,} test; "
        f"{channels}x{height}x{width}, {len(data.classes)} classes, "
        f"sha256 {data.fingerprint[:16]}"
    )
    if options.show:
        try:
            contact_sheet(data, Path(options.show))
        except OSError as error:
            raise UsageError(
                f"--show: {options.show} cannot be written ({error.strerror}); accepted: a file in "
                "a folder that can be"
            ) from None
        print(f"drawn: {options.show}")


if __name__ == "__main__":
    sys.exit(exit_code(main, "python -m trainables.data"))
