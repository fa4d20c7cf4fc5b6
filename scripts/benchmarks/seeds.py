"""SAC's updates of many seeds side by side by `vmap`: how far they amortise what one seed leaves idle."""

from scripts.benchmarks import bare
from scripts.benchmarks.benchmark import Benchmark, Measured

SEEDS = (1, 4, 16, 64)
WIDE, NARROW = (256, 256), (32, 32)


def measure(seconds: int) -> Measured:
    """Updates per second, those of all seeds counted; the value is that of most seeds with wide layers."""
    calls = {
        f"{seeds} x {width[0]}": bare.updates("sac", seeds, hidden=width) for width in (WIDE, NARROW) for seeds in SEEDS
    }
    each = bare.rates(calls, seconds)
    found = {name: int(name.split()[0]) * rate for name, rate in each.items()}
    most = f"{SEEDS[-1]} x"
    config = {
        "batch": 256,
        "critics at most": 2 * SEEDS[-1],
        **{f"{most} {width} / 1 x {width}": found[f"{most} {width}"] / found[f"1 x {width}"] for width in (256, 32)},
    }
    return Measured(found[f"{most} 256"], config, {name: rate for name, rate in found.items() if name != f"{most} 256"})


BENCHMARK = Benchmark(
    doc="SAC's bare updates, 1 to 64 seeds side by side, layers of 256 and of 32, batches of 256",
    unit="updates/s of all seeds",
    amounts=(3, 20),
    amount="seconds for each number of seeds",
    measure=measure,
    peers={},
)
