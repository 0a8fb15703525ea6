"""Interactions, from a dataset's name to training rows; TensorFlow only where it loads data."""
