"""The pocket model: a very small SDXL-shaped model of coloured shapes, and the program that trains it."""
