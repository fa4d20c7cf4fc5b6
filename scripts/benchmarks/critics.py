"""Updates of the off-policy agents beside each other: what atoms, a constraint and meta-gradients cost.

All have dense layers of 256x256 and batches of 256. SAC has two critics, the others one.
"""

from typing import Any

from scripts.benchmarks import bare
from scripts.benchmarks.benchmark import Benchmark, Measured

CRITICS = {"sac": 2, "td3": 2, "ddpg": 1, "d4pg": 1, "rc_d4pg": 1, "meta_l": 1, "mesh": 1}
SIZES: dict[str, Any] = {"hidden": (256, 256), "batch": 256}


def measure(seconds: int) -> Measured:
    """Updates per second of each; the value is D4PG's."""
    calls = {name: bare.updates(name, **SIZES, **_own(name)) for name in CRITICS}
    found = bare.rates(calls, seconds)
    config = {
        "batch": 256,
        "d4pg / sac": found["d4pg"] / found["sac"],
        "time of d4pg / time of a critic of sac": CRITICS["sac"] * found["sac"] / found["d4pg"],
        "time of meta_l / time of rc_d4pg": found["rc_d4pg"] / found["meta_l"],
        "time of mesh / time of rc_d4pg": found["rc_d4pg"] / found["mesh"],
    }
    return Measured(found["d4pg"], config, {name: rate for name, rate in found.items() if name != "d4pg"})


def _own(name: str) -> dict[str, Any]:
    """D4PG's wider critic is that of its authors; here all have the same."""
    return {"critic_hidden": ()} if name in ("d4pg", "rc_d4pg", "meta_l", "mesh") else {}


BENCHMARK = Benchmark(
    doc="bare updates of SAC, TD3, DDPG, D4PG, RC-D4PG, MetaL and MeSh, 256x256, batches of 256",
    unit="updates/s",
    amounts=(5, 30),
    amount="seconds for each agent",
    measure=measure,
    peers={},
)
