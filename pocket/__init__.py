"""The pocket model: a very small SDXL-shaped model of coloured shapes, and the programs that train it."""
