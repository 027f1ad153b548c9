"""Tensors in, tensors out: no files, no networks, no devices chosen."""
