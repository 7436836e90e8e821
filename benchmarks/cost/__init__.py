"""What an LSTM costs against a GRU, on this machine: `python -m benchmarks`."""
