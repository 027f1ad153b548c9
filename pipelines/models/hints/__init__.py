"""Networks that read pictures beside the prompt, and how they are attached to a UNet."""
