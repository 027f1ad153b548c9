"""The gateway: the four endpoints behind the fal protocol, with a durable queue."""
