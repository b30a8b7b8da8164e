"""--register: what a study is to be, written down before anything of it is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.log.log import Event
from study.plan.config import StudyConfig
from study.show.results import registration
from trainables.data.image_data import ImageData
from trainables.spec.errors import UsageError
from trainables.spec.files import atomic
from trainables.spec.registration import deviations, opened, sealed

OF_MACHINES = ("device", "threads", "micro_batch")  # which may be others than planned
CODE = "git_revision"  # which may be a later one; the report says so


def design_of(config: StudyConfig, data: ImageData, revision: str | None) -> dict[str, Any]:
    """What is registered, and held against what was done."""
    own = {name: value for name, value in config.to_dict().items() if name not in OF_MACHINES}
    return own | {"data": data.fingerprint, CODE: revision}


def registered(
    file: Path, design: dict[str, Any], words: Callable[[], str], events: list[Event]
) -> str:
    """The registration in `file`, which is written with those words where there is none.

    events : of the study, if it has begun

    Raises
    ------
    UsageError
        If there is one of another design or one that was changed, or the study began without it.
    """
    begun = registration(events)
    text = _read(file) if file.exists() else begun
    if events and (not begun or text != begun):
        raise UsageError(
            f"--register: the study has begun without {file}, and what is registered is written "
            "before; accepted: a new --name, or what it began with"
        )
    text = text or sealed(design, words())
    _require_same(file, text, design)
    if not file.exists():
        try:
            with atomic(file) as content:
                content.write(text.encode())
        except OSError as error:
            raise UsageError(
                f"--register: {file} cannot be written ({error.strerror}); accepted: a file"
            ) from None
    return text


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _no_registration(file, error) from None


def _require_same(file: Path, text: str, design: dict[str, Any]) -> None:
    try:
        theirs = opened(text)
    except ValueError as error:
        raise _no_registration(file, error) from None
    del theirs[CODE]
    if differs := deviations(theirs, design):
        raise UsageError(
            f"--register: {file} is of another design: {', '.join(differs)}; accepted: the same "
            "design, a new file, or going on without --register, which the report then says"
        )


def _no_registration(file: Path, error: Exception) -> UsageError:
    return UsageError(
        f"--register: {file} is no registration as it was written "
        f"({getattr(error, 'strerror', None) or error}); accepted: an unchanged one, or a new file"
    )
