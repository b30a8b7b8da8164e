"""One thread of linear algebra a process: tests run side by side, and threads that wait for each
other on the same cores make small matrices three times as slow. Commands they start inherit it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported

import hypothesis
import pytest

hypothesis.settings.register_profile("suite", deadline=None)  # a machine may be busy
hypothesis.settings.load_profile("suite")
STUDIES = "studies"  # the group of those that train whole studies, on one Ray and from one another
DAILY = {  # files that together take a minute and a half, of every package's ground
    f"test_{name}.py"
    for name in """house bad_input forecast gauges grid log planner space_and_cells
    curvature formulation storage trial_budget trial_config trial_divergence
    trial_formulation trial_gradient trial_identity trial_steps trial_stream trial_trainable
    compare gaps ink laws provenance rank surface""".split()
}


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # by length, as below, and not by number


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `-n 2 --dist loadgroup`: the studies first, as they take longest; others by file."""
    for item in items:
        if item.path.name in DAILY:
            item.add_marker(pytest.mark.daily)
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args[0] != STUDIES)
