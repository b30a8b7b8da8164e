"""The benchmarks by name."""

from tests.benchmarks import answer, batched, data, growth, step, study
from tests.benchmarks.table import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    each.BENCHMARK.name: each.BENCHMARK for each in (step, data, study, answer, growth, batched)
}
