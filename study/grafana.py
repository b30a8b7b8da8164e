"""python -m study.grafana: the Grafana dashboard for the gauges of a running study, as JSON."""

import json
import sys
from pathlib import Path
from typing import Any

from study.show.gauges import BUSY, EXPECTED, GAUGES, TRIALS, Gauge
from trainables.spec.errors import Parser, UsageError, exit_code
from trainables.spec.files import atomic

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = ("study", "method", "batch_size")  # what can be picked at the top
WIDTH, HEIGHT, COLUMNS = 12, 8, 24


def dashboard() -> dict[str, Any]:
    """What Grafana imports: one panel a gauge, and a variable for each of CHOSEN."""
    return {
        "uid": "large-batch-study",
        "title": "large-batch-study",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), *(_variable(label) for label in CHOSEN)]},
        "panels": [_panel(index, gauge) for index, gauge in enumerate(GAUGES)],
    }


def query(gauge: Gauge) -> str:
    """The series chosen; those of a status are summed, since trials of all cells add up."""
    tags = ",".join(f'{tag}=~"${tag}"' for tag in CHOSEN if tag in gauge.tags)
    series = f"ray_{gauge.name}{{{tags}}}"
    by = {TRIALS: "status", EXPECTED: "study"}.get(gauge)
    return f"sum by ({by}) ({series})" if by else series


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "source", "type": "datasource", "query": "prometheus"}


def _variable(label: str) -> dict[str, Any]:
    return {
        "name": label,
        "label": label.replace("_", " "),
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values(ray_{TRIALS.name}, {label})",
        "refresh": 2,  # whenever the time range changes
        "sort": 3,  # as numbers, where they are
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panel(index: int, gauge: Gauge) -> dict[str, Any]:
    by = {TRIALS: "{{status}}", EXPECTED: "{{study}}", BUSY: "{{study}}"}
    row, column = divmod(index, COLUMNS // WIDTH)
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": gauge.title,
        "description": gauge.description,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": gauge.unit}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "expr": query(gauge),
                "legendFormat": by.get(gauge, "{{method}} b{{batch_size}} m{{m}}"),
            }
        ],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m study.grafana", description=__doc__)
    parser.add_argument("--output", type=Path, metavar="FILE", help="instead of standard output")
    output = parser.parse_args(arguments).output
    text = json.dumps(dashboard(), indent=2) + "\n"
    if output is None:
        print(text, end="")
        return 0
    try:
        with atomic(output) as file:
            file.write(text.encode())
    except OSError as error:
        raise UsageError(
            f"--output: {output} cannot be written ({error.strerror}); accepted: a file's path"
        ) from None
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main, "python -m study.grafana"))
