"""Measurements: ratios taken side by side in one run, medians of many, the machine named."""
