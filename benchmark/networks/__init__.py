"""Denoising networks, classifiers and their checkpoints."""
