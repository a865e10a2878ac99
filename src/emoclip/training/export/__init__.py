"""Towers to model packages and back: graphs, 8 bits, the gate, published checkpoints."""
