"""The benchmarks by name."""

from tests.benchmarks import (
    answer,
    batched,
    data,
    ghosts,
    gpu_share,
    gpu_step,
    gpu_study,
    growth,
    parallel,
    step,
    study,
)
from tests.benchmarks.table import Benchmark

MODULES = (
    step, parallel, data, study, answer, growth, gpu_step, gpu_share, gpu_study, ghosts, batched,
)  # fmt: skip
BENCHMARKS: dict[str, Benchmark] = {each.BENCHMARK.name: each.BENCHMARK for each in MODULES}
