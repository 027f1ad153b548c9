"""The programs that draw the pictures, train the pocket model and evaluate it."""
