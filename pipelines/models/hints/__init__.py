"""Networks that condition the UNet on images, and how they are attached to it."""
