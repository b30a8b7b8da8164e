"""What Ray reads of the environment, made usable: where its sockets and logs lie, and its token.

Ray reads these variables itself, in this process and in those that it starts.
"""

import os
import secrets
import sys
import tempfile
from pathlib import Path

from trainables.spec.errors import UsageError

PLACE, TOKEN, TOKEN_PATH = "RAY_TMPDIR", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
USUAL = ("/tmp", "/var/tmp")  # for temporary files
INSIDE = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
LONGEST = (103 if sys.platform == "darwin" else 107) - INSIDE  # bytes, or no socket has a path


def prepare() -> list[str]:
    """Set what Ray needs where its own choice cannot serve; a line on what that moves.

    Raises
    ------
    UsageError
        If there is no directory in which Ray's sockets could be.
    """
    name = next((name for name in (PLACE, "TMPDIR") if os.environ.get(name)), PLACE)
    asked = os.environ.get(name) or USUAL[0]
    places = [asked] if name == PLACE else [asked, *USUAL]
    place = next((each for each in places if not _unfit(each)), None)
    if place is None:
        raise UsageError(
            f"{name}: {asked} {_unfit(asked)}; accepted: a directory that can be written to, with "
            f"a path of at most {LONGEST} bytes, as {USUAL[0]}"
        )
    os.environ[PLACE] = place
    token = os.environ.get(TOKEN_PATH)
    if token and not os.access(token, os.R_OK):
        raise UsageError(f"{TOKEN_PATH}: {token} cannot be read; accepted: a file with a token")
    if not (token or os.environ.get(TOKEN) or _home_keeps_token()):
        os.environ[TOKEN] = secrets.token_hex(32)  # of this session alone
    return [f"TMPDIR: {asked} {_unfit(asked)}; Ray's are in {place}/ray"] if place != asked else []


def _unfit(place: str) -> str:
    """Why Ray's sockets cannot be in that directory; nothing where they can."""
    length = len(os.fsencode(os.path.abspath(place)))
    if length > LONGEST:
        return f"is too long for Ray's sockets ({length} bytes of at most {LONGEST})"
    return "" if _writable(Path(place) / "ray") else "cannot be written to"


def _home_keeps_token() -> bool:
    """Whether Ray finds a token there, or can leave one there for the next session."""
    try:
        token = Path.home() / ".ray" / "auth_token"
        return os.access(token, os.R_OK) if token.exists() else _writable(token.parent)
    except (OSError, RuntimeError):  # no way there, or no home at all
        return False


def _writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return False
    return True
