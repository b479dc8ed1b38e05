"""The benchmark: ``make bench``, or single parts with ``python -m tests.bench latency idle big many [--json]``."""
