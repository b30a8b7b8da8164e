"""A study declared beforehand: a text whose design a program reads, with its own hash."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FILE = "registration.md"  # in a results directory
DESIGN = "## Design\n\n"
SEAL = "\nSHA-256 of all above: "


def sealed(design: Mapping[str, Any], words: str) -> str:
    """The text: `words`, the design an item a line, and the hash of both."""
    items = "".join(f"- {name}: {json.dumps(value)}\n" for name, value in design.items())
    text = f"{words}\n{DESIGN}{items}"
    return f"{text}{SEAL}{_hash(text)}\n"


def opened(text: str) -> dict[str, Any]:
    """The design in it; raises ValueError where it is not as it was sealed."""
    words, seal, given = text.rpartition(SEAL)
    if not seal or given.strip() != _hash(words):
        raise ValueError("its hash does not hold")
    items = (line[2:].partition(": ") for line in words.rpartition(DESIGN)[2].splitlines())
    return {name: json.loads(value) for name, _, value in items}


def digest(text: str) -> str:
    """The hash that a manifest carries."""
    return text.rpartition(SEAL)[2].strip()


def deviations(design: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A phrase for each item of the design that is another `now`, as JSON has them."""
    is_now = {name: json.loads(json.dumps(now.get(name))) for name in design}
    return [f"{name} is {json.dumps(is_now[name])}, registered {json.dumps(value)}"
            for name, value in design.items() if is_now[name] != value]  # fmt: skip


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
