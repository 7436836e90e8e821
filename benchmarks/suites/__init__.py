"""Suites for pytest-benchmark: `make bench`, or `pytest benchmarks/suites -k "training and GRU"` for some."""
