"""Checkpoints where every node reaches them: a directory, or any file system that pyarrow opens."""

import contextlib
from pathlib import Path

from trainables.spec.errors import UsageError


class Storage:
    """Small files by name in a `folder` of `place`, a path or a URI; goes to workers pickled.

    Raises
    ------
    UsageError
        If pyarrow has no file system for it.
    """

    def __init__(self, place: str, folder: str) -> None:
        from pyarrow import ArrowException, fs

        uri = place if "://" in place else str(Path(place).absolute())
        try:
            self.files, root = fs.FileSystem.from_uri(uri)
        except (OSError, ValueError, ArrowException) as error:
            raise self.refused(place, error) from None
        self.place, self.root = place, f"{root}/{folder}"

    @staticmethod
    def refused(place: str, error: Exception) -> UsageError:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        return UsageError(
            f"--storage: {place} cannot be used ({why}); accepted: a directory or a URI such as "
            "s3://BUCKET/PATH that every node reads and writes"
        )

    def prepare(self) -> None:
        """Make the folder; raises UsageError where that or writing to it fails."""
        try:
            self.files.create_dir(self.root, recursive=True)
            self.write("probe", b"")
        except (OSError, ValueError) as error:
            raise self.refused(self.place, error) from None

    def read(self, name: str) -> bytes | None:
        """The file's content; None where there is none."""
        try:
            with self.files.open_input_stream(f"{self.root}/{name}") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Raises OSError, as for a full disk, and then leaves what was there."""
        path = f"{self.root}/{name}"
        try:
            with self.files.open_output_stream(f"{path}.part") as file:
                file.write(content)
            self.files.move(f"{path}.part", path)
        except OSError:
            self.delete(f"{name}.part")
            raise

    def delete(self, name: str) -> None:
        with contextlib.suppress(OSError):  # as where there is none
            self.files.delete_file(f"{self.root}/{name}")

    def remove(self) -> None:
        """Delete all of it."""
        with contextlib.suppress(OSError):
            self.files.delete_dir(self.root)
