"""``doorway bench``."""

from gateway.commands.unbuilt import unbuilt

bench = unbuilt("bench", "Benchmarks as ratios.")
