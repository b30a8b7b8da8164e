"""A study's tables as its log alone has them, whatever is written beside it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from study.show import results


def tables_of(path: str | Path) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """(configuration as in the log, trials, reports)."""
    planner = results.planner_of(Path(path))
    config = json.loads(json.dumps(planner.config.to_dict()))
    return config, results.trials(planner), results.reports(planner)
