"""Train a network: data in, weights out, on one machine or many."""
