"""A user's own images come in every shape; a wrong one must be named, not trained on."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import folders
from trainables.data import image_data as data
from trainables.spec.errors import UsageError

CLASSES = ("ant", "bee", "cow")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(label: int, number: int, height: int = 6, width: int = 5) -> np.ndarray:
    """(H, W, 3), all different; the class is in the red channel."""
    pixels = np.random.default_rng([label, number]).integers(0, 256, (height, width, 3))
    pixels[..., 0] = 80 * label
    return pixels.astype(np.uint8)


def write(root: Path, counts: dict[str, int], mode: str = "RGB", suffix: str = "png") -> Path:
    for part, count in counts.items():
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(picture(label, number + 1000 * (part == "test")))
                image.convert(mode).save(folder / f"{number:03}.{suffix}")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "animals", {"train": 12, "test": 4})


def load(folder: Path, **values: int) -> data.ImageData:
    return data.load(f"folder:{folder}", **values)


def refused(folder: Path, **values: int) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_and_labels_are_those_of_the_files(folder: Path) -> None:
    loaded = load(folder)
    assert loaded.classes == CLASSES
    assert loaded.shape == (3, 6, 5)
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (30, 6, 12)
    assert loaded.train.images.dtype == np.uint8 and loaded.train.labels.dtype == np.int64
    expected = {
        picture(label, number).transpose(2, 0, 1).tobytes(): label
        for label in range(3)
        for number in range(12)
    }
    for split in (loaded.train, loaded.val):
        for image, label in zip(split.images, split.labels, strict=True):
            assert expected.pop(image.tobytes()) == label
    assert expected == {}
    assert list(loaded.test.labels) == [0] * 4 + [1] * 4 + [2] * 4


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "grey", {"train": 3, "test": 2}, mode="L", suffix="bmp"))
    assert loaded.shape == (1, 6, 5)
    expected = np.asarray(Image.fromarray(picture(2, 1001)).convert("L"))
    assert np.array_equal(loaded.test.images[-1, 0], expected)


def test_grey_images_of_16_bits_keep_their_shades(tmp_path: Path) -> None:
    ramp = (np.arange(30).reshape(6, 5) * 2000).astype(np.uint16)
    for part in ("train", "test"):
        for name in CLASSES:
            (tmp_path / "deep" / part / name).mkdir(parents=True)
            for number in "01":
                Image.fromarray(ramp).save(tmp_path / "deep" / part / name / f"{number}.png")
    loaded = load(tmp_path / "deep")
    assert loaded.shape == (1, 6, 5)
    assert np.abs(loaded.test.images[0, 0] - ramp / 257).max() <= 1


def test_other_modes_become_rgb(tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "palette", {"train": 3, "test": 2}, mode="RGBA"))
    assert loaded.shape == (3, 6, 5)
    assert np.array_equal(loaded.test.images[-1], picture(2, 1001).transpose(2, 0, 1))


def test_image_size_makes_all_images_squares_of_it(folder: Path) -> None:
    Image.fromarray(picture(0, 99, 11, 17)).save(folder / "train" / "ant" / "other.png")
    Image.fromarray(np.full((9, 2, 3), 200, np.uint8)).save(folder / "test" / "cow" / "last.png")
    loaded = load(folder, image_size=4)
    assert loaded.shape == (3, 4, 4)
    assert (loaded.test.images[-1] == 200).all()


def test_hidden_files_are_no_images(folder: Path) -> None:
    before = load(folder).fingerprint
    (folder / "train" / "bee" / ".DS_Store").write_bytes(b"x")
    (folder / ".hidden").write_bytes(b"x")
    assert load(folder).fingerprint == before


def test_one_grey_image_among_coloured_ones_takes_no_colour_away(folder: Path) -> None:
    first = folder / "train" / "ant" / "000.png"
    Image.open(first).convert("L").save(first)
    loaded = load(folder)
    assert loaded.shape == (3, 6, 5)
    assert np.array_equal(loaded.test.images[0], picture(0, 1000).transpose(2, 0, 1))


def shades(tmp_path: Path, kind: str, most: float, suffix: str) -> np.ndarray:
    """(6, 5): what is decoded of a ramp of all shades."""
    ramp = (np.arange(30).reshape(6, 5) / 29 * most).astype(kind)
    for part in ("train", "test"):
        for name in CLASSES:
            (tmp_path / "deep" / part / name).mkdir(parents=True)
            for number in "012":
                Image.fromarray(ramp).save(tmp_path / "deep" / part / name / f"{number}.{suffix}")
    return load(tmp_path / "deep").test.images[0, 0]


@pytest.mark.parametrize(
    ("kind", "most", "suffix"),
    [("uint16", 2**16 - 1, "png"), ("uint16", 2**16 - 1, "pgm"), ("uint16", 2**16 - 1, "tif"),
     ("int32", 2**31 - 1, "tif"), ("float32", 1.0, "tif")],
)  # fmt: skip
def test_images_of_more_bits_keep_all_their_shades(
    tmp_path: Path, kind: str, most: float, suffix: str
) -> None:
    expected = np.arange(30).reshape(6, 5) / 29 * 255
    assert np.abs(shades(tmp_path, kind, most, suffix) - expected).max() <= 1


def test_floats_of_no_known_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"0.tif holds floats of 0 to 700; accepted: of 0 to 1"):
        shades(tmp_path, "float32", 700.0, "tif")


def test_shades_that_eight_bits_would_lose_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"0.tif holds numbers of 0 to 255 where white is 2147483647"
    ):
        shades(tmp_path, "int32", 255, "tif")


def test_a_file_without_an_ending_is_known_by_its_bytes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train" / "ant" / "000.png").rename(folder / "train" / "ant" / "000")
    (folder / "train" / "ant" / "README").write_text("x")
    loaded = load(folder)
    assert len(loaded.train) + len(loaded.val) == 36
    assert "1 files that are no images are skipped (1 README)" in capsys.readouterr().err


def test_a_camera_says_how_an_image_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    pixels = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((8, 8), np.uint8))
    for part in ("train", "test"):
        for name in CLASSES:
            (tmp_path / "phone" / part / name).mkdir(parents=True)
            for number in "012":
                file = tmp_path / "phone" / part / name / f"{number}.jpg"
                Image.fromarray(pixels).save(file, exif=exif, quality=95)
    shown = load(tmp_path / "phone").test.images[0, 0][4::8, 4::8]
    assert np.abs(shown.astype(int) - [[160, 0], [240, 80]]).max() < 10


def test_what_lies_deeper_is_read_and_what_is_no_image_skipped_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train" / "ant" / "more").mkdir()
    Image.fromarray(picture(0, 99)).save(folder / "train" / "ant" / "more" / "0.png")
    (folder / "train" / "ant" / "Thumbs.db").write_bytes(b"x")
    (folder / "train" / "notes.txt").write_text("x")
    for part in ("train", "test"):
        (folder / part / "dodo").mkdir()
        (folder / part / "__MACOSX").mkdir()
    for _ in range(2):
        loaded = load(folder)
    assert loaded.classes == CLASSES and len(loaded.train) + len(loaded.val) == 37
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("animals: ")[2] for line in told] == [
        "no class: dodo (empty)",
        "2 files that are no images are skipped (1 .db, 1 .txt)",
    ]


def test_val_is_taken_for_test_where_there_is_none(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "test").rename(folder / "val")
    assert len(load(folder).test) == 12
    assert capsys.readouterr().err.endswith("animals: val is taken for test\n")


def test_hidden_folders_are_no_classes(folder: Path) -> None:
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    assert load(folder).classes == CLASSES


def test_a_folder_is_decoded_once_until_a_file_changes(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(folder)
    assert len(list(cache.iterdir())) == 1

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(folders, "from_folder", refuse)
        again = load(folder)
        assert again.fingerprint == first.fingerprint
        assert np.array_equal(again.train.images, first.train.images)
    pixels = picture(1, 5)
    pixels[0, 0, 2] ^= 1
    Image.fromarray(pixels).save(folder / "train" / "bee" / "005.png")
    assert load(folder).fingerprint != first.fingerprint
    assert len(list(cache.iterdir())) == 2


def test_a_damaged_cache_of_a_folder_is_decoded_again(folder: Path, cache: Path) -> None:
    before = load(folder).fingerprint
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert load(folder).fingerprint == before


def test_two_processes_load_a_folder_at_once(folder: Path) -> None:
    name = f"folder:{folder}"
    code = f"from trainables.data.image_data import load; print(load({name!r}).fingerprint)"
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) for _ in "ab"]
    answers = {process.communicate(timeout=60)[0].decode().strip() for process in both}
    assert answers == {load(folder).fingerprint}


def test_a_missing_folder_is_named(tmp_path: Path, folder: Path) -> None:
    message = refused(tmp_path / "nowhere")
    assert message.startswith("--dataset: ") and "nowhere/train" in message
    (folder / "test").rename(folder / "elsewhere")
    message = refused(folder)
    assert message.startswith("--dataset: ") and "animals/test" in message


def test_unequal_class_folders_are_refused(folder: Path) -> None:
    (folder / "test" / "cow").rename(folder / "test" / "dog")
    assert refused(folder).startswith("--dataset: ")
    assert "cow only in train; dog only in test" in refused(folder)
    (folder / "test" / "dog").rename(folder / "test" / "Cow")
    assert "3 in train, 3 in test: cow only in train; Cow only in test" in refused(folder)
    shutil.rmtree(folder / "test" / "Cow")
    assert "3 in train, 2 in test: cow only in train" in refused(folder)


def test_fewer_than_two_classes_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "one" / part / "ant").mkdir(parents=True)
    assert refused(tmp_path / "one").startswith("--dataset: ")


def test_a_part_without_files_is_refused(folder: Path) -> None:
    for file in (folder / "test").glob("*/*"):
        file.unlink()
    message = refused(folder)
    assert message.startswith("--dataset: ") and "animals/test holds no images" in message


def bomb() -> bytes:
    """A header of 90,000 x 90,000 pixels, which Pillow refuses to open."""
    return (
        b"BM"
        + (54).to_bytes(4, "little")
        + bytes(4)
        + (54).to_bytes(4, "little")
        + b"".join(
            part.to_bytes(size, "little")
            for part, size in ((40, 4), (90_000, 4), (90_000, 4), (1, 2), (24, 2), (0, 24))
        )
    )


BROKEN = {"empty": b"", "text": b"no image", "bomb": bomb(), "cut": None}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_corrupt_image_is_named(folder: Path, kind: str) -> None:
    path = folder / "train" / "cow" / "007.png"
    content = BROKEN[kind]
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    message = refused(folder)
    assert message.startswith("--dataset: ") and "cow/007.png" in message


@pytest.mark.parametrize("where", ["train", "test"])
def test_unequal_image_sizes_ask_for_one(folder: Path, where: str) -> None:
    Image.fromarray(picture(1, 1, 6, 9)).save(folder / where / "bee" / "000.png")
    message = refused(folder)
    assert message.startswith("--image-size: ") and f"{where}/bee/000.png is 9x6" in message
    assert "5x6" in message
    assert load(folder, image_size=6).shape == (3, 6, 6)


def test_more_training_images_than_there_are_is_refused(folder: Path) -> None:
    assert refused(folder, train_size=31).startswith("--train-size: 31 ")
    assert len(load(folder, train_size=30).train) == 30


def test_a_set_too_small_to_validate_on_is_refused(tmp_path: Path) -> None:
    # Five training images leave none for validation, and a score of nothing is none.
    root = write(tmp_path / "few", {"train": 1, "test": 1})
    message = refused(root)
    assert message.startswith("--dataset: ") and "few" in message


def test_transparent_places_are_white_whatever_the_file_holds_there(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 4)).astype(np.uint8)
    pixels[..., 3] = 0
    pixels[2:6, 2:6] = (10, 20, 30, 255)
    grey = pixels[..., [0, 3]]
    for kind, array, own in (("RGBA", pixels, [10, 20, 30]), ("LA", grey, [10])):
        root = tmp_path / kind
        for part, label in itertools.product(("train", "test"), ("cat", "dog")):
            (root / part / label).mkdir(parents=True)
            for i in range(6):
                Image.fromarray(array).save(root / part / label / f"{i}.png")
        images = load(root).test.images
        assert images.shape[1] == len(own) and (images[:, :, :2] == 255).all()
        assert (images[:, :, 3, 3] == own).all()


def test_twelve_bits_in_files_of_sixteen_are_refused(tmp_path: Path) -> None:
    ramp = np.linspace(0, 4095, 64).reshape(8, 8).astype(np.uint16)
    for part, label in itertools.product(("train", "test"), ("cat", "dog")):
        (tmp_path / part / label).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(ramp).save(tmp_path / part / label / f"{i}.png")
    with pytest.raises(UsageError, match=r"^--dataset: .* is at 16 of 255, .*; accepted: "):
        load(tmp_path)


def test_names_links_and_loops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name whose ending tells nothing, a link to nothing, and one to a folder around it."""
    root = write(tmp_path / "animals", {"train": 6, "test": 6})
    cat = next((root / "train").iterdir())
    before = sum(map(len, (load(root).train, load(root).val)))
    file = next(cat.iterdir())
    file.rename(cat / "img.v1.3")
    (cat / "zz.png").symlink_to("/nowhere/x.png")
    (cat / "loop").symlink_to(root / "train")
    again = load(root)
    assert len(again.train) + len(again.val) == before
    assert "1 files that are no images are skipped (1 .png)" in capsys.readouterr().err
