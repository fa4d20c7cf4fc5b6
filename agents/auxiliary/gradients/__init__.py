"""Gradient transforms: what turns gradients into steps, before the learning rate scales them."""
