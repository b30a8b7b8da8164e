"""The habits of the house: layered, and importable without what it does not need."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("trainables", "study", "analysis")
# From the ground up; a wing may import those below it. `study` and the like: the package's top.
FLOORS = """trainables.spec trainables.data trainables.network trainables.step trainables.minima
trainables analysis.data analysis.fit analysis.questions analysis.say analysis.figures
analysis.latex analysis.validity analysis study.log study.plan study.show study.ask study.cluster
study""".split()
GROUND = "trainables.spec"
SEARCH = ("analysis.data.cells", "analysis.fit.proposal")  # what the planner asks of the analysis


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in files}


def imported(file: Path) -> set[str]:
    """Dotted names that a file imports at run time, wherever in it."""
    found: set[str] = set()
    left: list[ast.AST] = [ast.parse(file.read_text())]
    while left:
        node = left.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        left += ast.iter_child_nodes(node)
    return found


def wing(module: str) -> str:
    return ".".join(module.split(".")[:-1][:2]) or module


def test_arrows_run_down_and_in_no_circle() -> None:
    known = modules()
    arrows = {name: imported(file) & set(known) for name, file in known.items()}
    for name, below in arrows.items():
        for other in below:
            if other.endswith("__init__"):
                continue
            down = FLOORS.index(wing(other)) <= FLOORS.index(wing(name))
            assert down, f"{name} imports {other}, which is above it"
            if name.startswith("analysis") and not other.startswith("analysis"):
                assert wing(other) == GROUND, f"{name} imports {other}: the analysis stands alone"
            if name.startswith("study") and other.startswith("analysis") and name != "study.run":
                assert other in SEARCH, f"{name} imports {other}: study.run alone asks the analysis"
    graphlib.TopologicalSorter(arrows).prepare()  # raises CycleError


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("study.plan.planner", {"ray", "torch"}),
        ("study.show.results", {"ray", "torch"}),
        ("study.status", {"ray", "torch"}),
        ("study.ask.options", {"ray", "torch"}),
        ("analysis.report", {"ray", "torch", "optuna"}),
        ("analysis", {"ray", "torch", "optuna"}),
        ("trainables.spec.trial", {"ray", "torch", "pandas", "numpy"}),
        ("trainables.spec.grid", {"ray", "torch", "pandas", "numpy"}),
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
