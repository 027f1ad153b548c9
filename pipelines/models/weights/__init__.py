"""Weight files: reading them, filling networks with them, and merging changes into them."""
