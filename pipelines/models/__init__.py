"""Networks, their files, and the managers that attach patches to them."""
