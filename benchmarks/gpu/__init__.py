"""What the library does on a GPU beside PyTorch on the same card: layers, what cuDNN lacks, and the captioner.

    python -m benchmarks.gpu --json benchmarks/results/gpu-h100.json              # until nine minutes are over
    python -m benchmarks.gpu --json benchmarks/results/gpu-h100.json --resume     # and on from there

Before anything is timed both sides must give the same. Times are medians over rounds in which the competitors take
turns (`benchmarks.turns`), each call ending when the card has finished.

layers     one LSTM or GRU beside cuDNN's and the floor
lacking    what cuDNN has not, beside a loop over time in PyTorch
captioner  captions a second in training, by size of batch, and the memory that this takes
card       the card, its libraries, its memory
"""
