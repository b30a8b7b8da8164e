"""What a terminal cannot show is said otherwise, and what is not for it does not reach it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in classes whose names no font of matplotlib has."""
    root = tmp_path_factory.mktemp("data") / "研究"
    for part in ("train", "test"):
        for shade, name in enumerate(("猫", "犬")):
            (root / part / name).mkdir(parents=True)
            for i in range(10):
                pixels = np.full((8, 8), 100 * shade + i, np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


@pytest.mark.parametrize("terminal", [{}, ASCII], ids=["usual", "ascii"])
def test_names_of_any_letters_are_read_and_shown(
    terminal: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    words = ["-m", "trainables.data", f"folder:{folder}", "--show", str(tmp_path / "é.png")]
    nowhere = {"HOME": "/dev/null", "LARGE_BATCH_CACHE": str(tmp_path / "cache")}
    made = subprocess.run(
        [sys.executable, *words], capture_output=True, timeout=300,
        env={name: text for name, text in os.environ.items() if name != "MPLCONFIGDIR"}
        | nowhere | terminal,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert b"2 classes" in made.stdout and b"drawn: " in made.stdout
    assert made.stderr == b""  # nor of matplotlib's cache, nor of letters that its fonts lack
    assert (tmp_path / "é.png").stat().st_size > 1000


def test_words_that_are_no_text_in_this_environment_are_one_line(folder: Path) -> None:
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for module in ("trainables.data", "study.run"):
        words = [f"folder:{folder}"] if module == "trainables.data" else ["--name", "é"]
        made = subprocess.run(
            [sys.executable, "-m", module, *words], capture_output=True, env=os.environ | bare
        )
        [line] = made.stderr.decode("ascii").splitlines()
        assert made.returncode == 2 and "PYTHONUTF8=1" in line and "encoding" in line


def test_an_image_file_of_a_name_that_is_no_text_is_read(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "copied"
    shutil.copytree(folder, root)
    file = os.fsencode(root / "train" / "猫")
    os.rename(file + b"/3.png", file + b"/\xe9.png")  # as of an old archive
    made = subprocess.run(
        [sys.executable, "-m", "trainables.data", f"folder:{root}"], capture_output=True,
        env=os.environ | {"LARGE_BATCH_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert made.returncode == 0 and b"2 classes" in made.stdout, made.stderr
