"""One kind of error for bad input, which every command answers with one line and exit code 2."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn


class UsageError(ValueError):
    """Bad input: the message names the option, what was wrong and what is accepted."""


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, as every other check does."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; accepted: what --help lists")


def exit_code(main: Callable[[], int | None], program: str) -> int:
    """Run a command's main; bad input becomes one line on standard error and exit code 2."""
    try:
        return main() or 0
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stderr.close()
        return 141
