"""`python -m analysis.paper RESULTS… --title … --authors FILE`: the paper that a study becomes."""

import functools
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.data.load import asked_for, behind
from trainables.spec.errors import Halted, Parser, UsageError, exit_code

if TYPE_CHECKING:
    from analysis.questions.answers import Answers

MADE = "made.json"  # what was written, by its hash: all else in the folder is the authors'
TO_WRITE = ("introduction.tex", "acknowledgements.tex")  # by the authors
LATEX = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error")
PASSES = (LATEX, ("bibtex",), LATEX, LATEX)


def write(results: list[str], title: str, authors: str, out: str = "") -> tuple[Path, str]:
    """Write the paper's folder; it, and what to say of the authors' part in it.

    What was edited in it since is the authors' and stays as it is.

    Raises
    ------
    UsageError
        If there is no study, no author, no title, or the folder holds something else.
    """
    if not title.strip():
        raise UsageError("--title: it is empty; accepted: the paper's title")
    names = read_authors(Path(authors))
    study = asked_for(*results)
    report = study.report_dir
    beside = report.with_name(re.sub("^report|report$", "paper", report.name, count=1))
    folder = Path(out) if out else beside
    made = _opened(folder)
    for line in behind(study):
        print(line, file=sys.stderr)

    from threadpoolctl import threadpool_limits  # and SciPy and matplotlib only where needed

    from analysis.questions.answers import answered
    from analysis.report import progress

    with progress() as watch, threadpool_limits(1):
        found = answered(study, watch)
        watch("figures", 0.99)
        files = _files(found, title, names)
    kept = _written(folder, files, made)
    lines = [f"kept, as it was edited: {folder / name}" for name in kept if name not in TO_WRITE]
    lines += [f"to be written by you: {folder / name}" for name in TO_WRITE if name not in kept]
    return folder, "".join(f"{line}\n" for line in lines)


def read_authors(file: Path) -> list[str]:
    """One a line; empty lines and those that begin with # are none, nor is an address in <>."""
    accepted = "a text file of one author a line, as the repository's AUTHORS"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        wrong = getattr(error, "strerror", None) or "no text in UTF-8"
        raise UsageError(f"--authors: {file}: {wrong}; accepted: {accepted}") from None
    names = [re.sub(r"<[^<>]*>", "", line).strip() for line in lines if line.strip()[:1] != "#"]
    if not any(names):
        raise UsageError(f"--authors: {file} names nobody; accepted: {accepted}")
    return [name for name in names if name]


def _opened(folder: Path) -> dict[str, str]:
    """The hashes of what an earlier call wrote there; the folder is made where it is not."""
    accepted = "a folder that is new, empty, or of an earlier paper of this command"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            return {}
        known = json.loads((folder / MADE).read_text(encoding="utf-8"))
        return {str(name): str(sha) for name, sha in known.items()}
    except FileNotFoundError:
        wrong = f"{folder} holds something else (no {MADE})"
    except OSError as error:
        wrong = f"{folder}: {error.strerror}"
    except (ValueError, AttributeError):
        wrong = f"{folder / MADE} is damaged"
    raise UsageError(f"--out: {wrong}; accepted: {accepted}")


def _files(found: "Answers", title: str, authors: list[str]) -> dict[str, bytes]:
    from analysis.figures.gallery import gallery
    from analysis.figures.ink import draw
    from analysis.latex.paper import paper, stems
    from analysis.validity.checklist import validity

    drawn = list(gallery(found))
    texts = paper(found, validity(found), drawn, title, authors)
    files = {name: text.encode() for name, text in texts.items()}
    stem = stems(drawn)
    with tempfile.TemporaryDirectory() as part:
        for _, figure in drawn:
            file = Path(part, stem[figure.name])
            draw(figure, file)
            files[f"figures/{file.name}.pdf"] = file.with_suffix(".pdf").read_bytes()
    return files


def _written(folder: Path, files: dict[str, bytes], made: dict[str, str]) -> list[str]:
    """Write what nobody has edited, take away what is made no more; the names of all others."""
    fresh = {name: _hash(data) for name, data in files.items()}
    there = {name: _hash((folder / name).read_bytes()) for name in made | fresh
             if (folder / name).is_file()}  # fmt: skip
    kept = [name for name, sha in there.items() if sha not in (made.get(name), fresh.get(name))]
    for name in made.keys() & there.keys() - fresh.keys() - set(kept):
        (folder / name).unlink()
    for name in fresh.keys() - set(kept):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(files[name])
    record = fresh | {name: made.get(name, "") for name in kept}
    (folder / MADE).write_text(json.dumps(record, indent=0, sort_keys=True), encoding="utf-8")
    return kept


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def compiled(folder: Path) -> str:
    """Make paper.pdf where LaTeX is installed, in a copy that its other files litter; what to say.

    Raises
    ------
    Halted
        Where LaTeX cannot read the paper.
    """
    paper, pdf = folder / "paper.tex", folder / "paper.pdf"
    if not all(shutil.which(command) for command, *_ in PASSES):
        old = f"; {pdf} is of another call" * pdf.is_file()
        return f"look at {paper} (no LaTeX here; elsewhere: latexmk -pdf paper{old})"
    with tempfile.TemporaryDirectory() as part:
        copy = Path(shutil.copytree(folder, Path(part, "paper")))
        for command in PASSES:
            said = subprocess.run([*command, "paper"], cwd=copy, capture_output=True, text=True,
                                  errors="replace", stdin=subprocess.DEVNULL)  # fmt: skip
            if said.returncode:
                lines = [line for line in said.stdout.splitlines() if line[:1] == "!"]
                raise Halted(
                    f"{command[0]} cannot read {paper}: {(*lines, 'it says why there')[0]}"
                    " (it takes IEEEtran and booktabs); all other files are there"
                )
        shutil.copyfile(copy / pdf.name, pdf)
    return f"look at {pdf}"


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m analysis.paper",
        description="A folder with the paper of one study or of several: text, tables, figures and "
        "references for LaTeX, and paper.pdf where that is installed.",
    )
    add = parser.add_argument
    add("results", metavar="RESULTS", nargs="+", help="results directories, or tables")
    add("--title", required=True, help="of the paper, as plain text")
    add("--authors", required=True, metavar="FILE", help="one author a line, as in AUTHORS")
    add("--out", default="", metavar="DIR", help="the folder (default: paper beside the report)")
    asked = parser.parse_args(arguments)
    folder, said = write(asked.results, asked.title, asked.authors, asked.out)
    print(said, end="", flush=True)
    print(compiled(folder))
    return 0


command = functools.partial(exit_code, main, "python -m analysis.paper")

if __name__ == "__main__":
    sys.exit(command())
