"""Speed and memory beside other libraries, in turns within one run: `python -m benchmarks.peers`.

A peer that is not installed is left out, and the record says which were there.
"""
