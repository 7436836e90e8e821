"""Recurrent networks by hand, on NumPy and on CuPy: see the README."""
