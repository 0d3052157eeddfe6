"""How fast the gateway is, next to its peers, in the same run: see docs/benchmarks.md."""
