"""Bad input, which every command answers with one line and exit code 2, and what stops one."""

import argparse
import errno
import io
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


class UsageError(ValueError):
    """Bad input: the message names the option, what was wrong and what is accepted."""


class Halted(BaseException):
    """A command cannot go on, for the reason that the message gives; what was finished is kept.

    No Exception, so that nothing takes it for the failure of a single trial.
    """


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, as every other check does."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        for text in sys.argv[1:] if args is None else args:
            if any("\ud800" <= letter <= "\udfff" for letter in text):  # bytes that are no text
                raise UsageError(
                    f"{text!a}: not in the encoding of this environment "
                    f"({sys.getfilesystemencoding()}); accepted: the same under PYTHONUTF8=1"
                )
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; accepted: what --help lists")


def on_any_terminal() -> None:
    """Where the terminal has no √ or ρ, say so instead of failing at the end of all work; and what
    matplotlib says of its cache and of letters that its fonts lack is not for this screen."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font", UserWarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def exit_code(main: Callable[[], int | None], program: str) -> int:
    """Run a command's main; bad input becomes one line on standard error and exit code 2.

    So does, with exit code 1, a place that can no longer be written to.
    """
    on_any_terminal()
    try:
        return main() or 0
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except Halted as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stderr.close()
        return 141
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(f"{program}: {unwritable(error)}", file=sys.stderr)
        return 1


def unwritable(error: OSError) -> str:
    """What to say of a place that cannot be written to any more."""
    where = f" {error.filename}" if error.filename else ""
    return (
        f"cannot write{where} ({error.strerror}); everything finished is kept: make room there, "
        "and the same command goes on"
    )
