"""Doors of the gateway: keys, tokens, origins, TLS, and what it may fetch from elsewhere."""
