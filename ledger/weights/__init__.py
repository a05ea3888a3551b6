"""Weights as safetensors files: read with every check, written so that equal weights are equal bytes."""
