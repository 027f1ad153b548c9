"""uint8 picture in, uint8 picture out."""
