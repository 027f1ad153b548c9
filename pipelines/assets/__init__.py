"""The catalogue of files that the pack does not contain, their search on the disk, and their download."""
