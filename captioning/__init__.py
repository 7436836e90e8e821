"""Image captioning with an LSTM or a GRU."""
