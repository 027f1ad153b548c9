"""Files that the pack does not contain: what they are, which are missing, and fetching them."""
