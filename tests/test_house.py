"""The habits of the house: linted, typed, layered, and importable without what it does not need."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("trainables", "study", "analysis")
# What each package may import of the others.
MAY = {
    "trainables": set(),
    "study": {"trainables", "analysis.proposal", "analysis.cells"},  # what it searches by
    "analysis": {"study.results"},
}


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy", "--no-incremental"]],
    ids=" ".join,
)
def test_checkers_find_nothing(command: list[str]) -> None:
    ran = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def imported(file: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_upward(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        if file.name == "run.py":  # the one that may call the analysis at its end
            continue
        for name in imported(file):
            other = name.split(".")[0]
            if other in PACKAGES and other != package:
                allowed = any(
                    name == m or name.startswith(f"{m}.") or m.startswith(f"{name}")
                    for m in MAY[package]
                )
                assert allowed, f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("study.planner", {"ray", "torch"}),
        ("study.results", {"ray", "torch"}),
        ("study.status", {"ray", "torch"}),
        ("study.options", {"ray", "torch"}),
        ("analysis.report", {"ray", "torch", "optuna"}),
        ("trainables.training", {"ray", "torchvision"}),
    ],
)
def test_a_module_does_not_pull(module: str, without: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert not without & set(out.stdout.split())


def test_every_file_says_why_it_exists() -> None:
    for package in (*PACKAGES, "tests"):
        for file in (ROOT / package).rglob("*.py"):
            assert ast.get_docstring(ast.parse(file.read_text())), file
