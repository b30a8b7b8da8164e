"""A folder of images as people have them: listed, decoded to one form, the unusual said once."""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainables.data.sources import counter
from trainables.spec.errors import UsageError
from trainables.spec.plugins import Raw

if TYPE_CHECKING:
    from PIL import Image

ACCEPTED = "accepted: a folder with train/CLASS/* and test/CLASS/* image files"
TESTED = ("test", "val", "valid", "validation")  # the first that is there
NO_CLASS = "__MACOSX"
FORMAT = 3  # of what is decoded from the same files; a new number makes old caches unread
GREY = ("1", "L", "LA", "I", "F")  # and I;16 in its variants
BITS, SAMPLES, SIGNED = 258, 339, 2  # tags of TIFF
SIGNED_MOST = (1 << 31) - 1
DARK = 32  # of 255: three of eight bits unused
_said: set[str] = set()


@dataclass(frozen=True)
class Listing:
    """The files of a folder data set as (path, label), and what tells that they changed."""

    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]
    classes: tuple[str, ...]
    signature: str


def list_folder(root: Path) -> Listing:
    """PATH/train/CLASS/** and PATH/test/CLASS/**; labels follow the sorted class names.

    Files that are no images, hidden ones and empty class folders are passed over.

    Raises
    ------
    UsageError
        Where a part is missing, or the parts do not have the same two or more classes.
    """
    there = [name for name in TESTED if (root / name).is_dir()]
    classed = [name for name in there if any(path.is_dir() for path in (root / name).iterdir())]
    tested = next(iter(classed or there), TESTED[0])
    parts: dict[str, dict[str, list[Path]]] = {}
    strays: list[Path] = []
    for part in ("train", tested):
        if not (root / part).is_dir():
            raise UsageError(f"--dataset: folder {root / part} does not exist; {ACCEPTED}")
        parts[part] = _classes(root / part, strays)
    train, test = parts.values()
    for part, found in parts.items():
        if not any(found.values()):
            raise UsageError(f"--dataset: {root / part} holds no images; {ACCEPTED}")
    classes = _same_classes(root, tested, train, test)
    empty = sorted(name for name in train if not train[name] and not test.get(name))
    lines = [f"{tested} is taken for test"] if tested != TESTED[0] else []
    lines += [f"no class: {', '.join(empty)} (empty)"] if empty else []
    if strays:
        kinds = Counter(path.suffix or path.name for path in strays)
        said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        lines.append(f"{len(strays)} files that are no images are skipped ({said})")
    _say(root, lines)
    listed = {
        part: [(file, label) for label, name in enumerate(classes) for file in found[name]]
        for part, found in parts.items()
    }
    digest = hashlib.sha256(f"{FORMAT}".encode())
    for file, _ in (*listed["train"], *listed[tested]):
        status = file.stat()
        digest.update(os.fsencode(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return Listing(listed["train"], listed[tested], classes, digest.hexdigest())


def _same_classes(
    root: Path, tested: str, train: dict[str, list[Path]], test: dict[str, list[Path]]
) -> tuple[str, ...]:
    """The classes that have images, sorted; raises UsageError where the parts' differ."""
    ours, theirs = ({name for name in found if found[name]} for found in (train, test))
    if len(ours) >= 2 and ours == theirs:
        return tuple(sorted(ours))
    lone = {"train": sorted(ours - theirs), tested: sorted(theirs - ours)}
    said = "; ".join(f"{', '.join(names)} only in {part}" for part, names in lone.items() if names)
    raise UsageError(
        f"--dataset: {root} must have images of the same two or more classes in train and "
        f"{tested}; found {len(ours)} in train, {len(theirs)} in {tested}"
        f"{': ' * bool(said)}{said}; {ACCEPTED}"
    )


def _classes(part: Path, strays: list[Path]) -> dict[str, list[Path]]:
    """The image files of each class folder, however deep they lie; others are `strays`."""
    known, found = _suffixes(), dict[str, list[Path]]()
    for path in sorted(part.iterdir()):
        if path.name.startswith(".") or path.name == NO_CLASS:
            continue
        if not path.is_dir():
            strays.append(path)
            continue
        found[path.name] = []
        for file in _files(path):
            (found[path.name] if _is_image(file, known) else strays).append(file)
    return found


def _files(folder: Path) -> Iterator[Path]:
    """All that are not hidden, those of a folder before those of the folders in it; a link to a
    folder that it lies in is followed no further."""
    visible = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    yield from (path for path in visible if not path.is_dir())
    for path in visible:
        around = path.is_symlink() and path.resolve() in path.parent.resolve().parents
        if path.is_dir() and path.name != NO_CLASS and not around:
            yield from _files(path)


def _suffixes() -> set[str]:
    """Of the formats that Pillow reads."""
    from PIL import Image

    every = Image.registered_extensions()
    return {suffix for suffix, kind in every.items() if kind in Image.OPEN}


def _is_image(file: Path, known: set[str]) -> bool:
    """By its name, or by its first bytes where that tells nothing; not a link to nothing."""
    from PIL import Image

    if file.suffix.lower() in known:
        return file.is_file()
    try:
        with Image.open(file):
            return True
    except Exception:  # every format's plug-in raises its own
        return False


def _say(root: Path, lines: list[str]) -> None:
    """Once in a process."""
    for line in lines:
        told = f"--dataset: {root}: {line}"
        if told not in _said:
            _said.add(told)
            print(told, file=sys.stderr)


def from_folder(listing: Listing, image_size: int) -> Raw:
    """Decode every file: turned as its camera says, scaled by its bit depth, on white where it is
    transparent, to RGB where any of them has colour; resized to a square where asked."""
    files = [path for path, _ in (*listing.train, *listing.test)]
    channels = 1 if all(map(_is_grey, files)) else 3
    with counter("decoding images", len(files)) as advance:
        train = _decode(listing.train, image_size, advance, (channels,))
        test = _decode(listing.test, image_size, advance, train[0].shape[1:])
    brightest = max(int(train[0].max()), int(test[0].max()))
    if brightest < DARK and any(map(_is_deep, files)):
        raise UsageError(
            f"--dataset: the brightest of these images, {files[0]} and others of 16 bits, is at "
            f"{brightest} of 255, as of shades of 12 bits; accepted: shades over the whole range"
        )
    return Raw(*train, *test, listing.classes)


def _is_grey(path: Path) -> bool:
    mode = _mode(path)
    return mode in GREY or mode.startswith("I;16")


def _is_deep(path: Path) -> bool:
    return _mode(path).startswith("I")


def _mode(path: Path) -> str:
    """By the header alone; of a file that cannot be read, decoding says so."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            return file.mode
    except Exception:
        return "L"


def _decode(
    files: list[tuple[Path, int]],
    image_size: int,
    advance: Callable[[int], None],
    like: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image, ImageOps

    images: np.ndarray | None = None
    for position, (path, _) in enumerate(files):
        try:
            with Image.open(path) as file:
                image = _opaque(_eight_bits(file, path))
                upright = ImageOps.exif_transpose(image)
                pixels = upright.convert("L" if like[0] == 1 else "RGB")
        except UsageError:
            raise
        except Exception as error:  # every format's plug-in raises its own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(
                f"--dataset: {path} is no readable image ({reason}); accepted: what Pillow opens"
            ) from None
        if image_size:
            pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
        array = np.asarray(pixels, dtype=np.uint8)
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        if images is None:
            images = np.empty((len(files), *array.shape), np.uint8)
            like = like if len(like) == 3 else array.shape
        if array.shape != like:
            raise UsageError(
                f"--image-size: {path} is {array.shape[2]}x{array.shape[1]} where others are "
                f"{like[2]}x{like[1]}; accepted: a side in pixels to resize all images to"
            )
        images[position] = array
        advance(1)
    assert images is not None  # list_folder refuses empty folders
    return images, np.array([label for _, label in files], np.int64)


def _opaque(image: "Image.Image") -> "Image.Image":
    """On white, as in a browser: under a transparent place a file may hold anything."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)


def _eight_bits(file: "Image.Image", path: Path) -> "Image.Image":
    """An image of more bits with its shades scaled to eight, which Pillow would clip."""
    from PIL import Image

    if file.mode == "F":
        values = np.asarray(file)
        low, high = float(values.min()), float(values.max())
        if not 0 <= low <= high <= 1:
            raise UsageError(
                f"--dataset: {path} holds floats of {low:g} to {high:g}; accepted: of 0 to 1"
            )
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if file.mode.startswith("I"):
        most, values = _most(file), np.asarray(file).astype(np.int64)
        if most > SIGNED_MOST:  # which Pillow holds as signed ones
            values = values % (1 << 32)
        low, high = int(values.min()), int(values.max())
        if low < 0 or (most >= SIGNED_MOST and 0 < high < 1 << 16):
            raise UsageError(
                f"--dataset: {path} holds numbers of {low} to {high} where white is {most}; "
                "accepted: shades over the whole range of their bits"
            )
        return Image.fromarray(np.rint(np.minimum(values / most, 1) * 255).astype(np.uint8))
    return file


def _most(file: "Image.Image") -> int:
    """What white is in an image of whole numbers of more than eight bits."""
    tags = getattr(file, "tag_v2", {})
    bits = max(np.atleast_1d(tags.get(BITS, 16)))
    signed = max(np.atleast_1d(tags.get(SAMPLES, 1))) == SIGNED
    return (1 << int(bits) - int(signed)) - 1
