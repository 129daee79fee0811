"""Driving logs as TensorFlow Datasets, built and read without TensorFlow."""
