"""Options from a file: a TOML, or what a JSON file such as an earlier study's manifest holds."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from trainables.spec.errors import Parser, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ELSEWHERE = ("config", "help")


def parsed(
    parser: argparse.ArgumentParser, arguments: list[str] | None = None
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The command line, and below it the file that --config names; and what that file holds.

    The parser must not allow abbreviations, or an abbreviated --config would be passed over.
    """
    first = Parser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    file = first.parse_known_args(arguments)[0].config
    values = from_file(Path(file), parser) if file else {}
    parser.set_defaults(**values)
    return parser.parse_args(arguments), values


def from_file(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Destination -> value as typed on a command line, for the parser's set_defaults.

    Raises
    ------
    UsageError
        If the file cannot be read, or a name or the kind of a value is no option's.
    """
    actions = {action.dest: action for action in parser._actions if action.dest not in ELSEWHERE}
    options = [_option(path, name, value, actions) for name, value in _read(path).items()]
    names = [name for name, _ in options]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"--config: {path} has {twice} twice; accepted: each option once")
    return dict(options)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(
            f"--config: {path} cannot be read ({reason}); accepted: a .toml of options, or a "
            ".json that holds some, as a study's manifest.json"
        ) from None
    if path.suffix == ".json":
        values = values.get("options") if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise UsageError(f"--config: {path} holds no options; accepted: as a study's manifest.json")
    return values


def _option(
    path: Path, name: str, value: Any, actions: dict[str, argparse.Action]
) -> tuple[str, Any]:
    action = actions.get(name.replace("-", "_"))
    if action is None:
        raise UsageError(
            f"--config: {path} has {name!r}, which is no option; accepted: what --help lists, "
            "as in budget = '10epochs'"
        )
    is_flag = action.nargs == 0
    if isinstance(value, list) and not is_flag:
        value = ",".join(map(str, value))
    if isinstance(value, bool) != is_flag or not isinstance(value, (str, int, float)):
        kind = "true or false" if is_flag else "a number, a text or a list"
        raise UsageError(f"--config: {path}: {name} is {value!r}; accepted: {kind}")
    return action.dest, value if is_flag else str(value)
