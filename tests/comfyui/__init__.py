"""Tests in a real ComfyUI: over HTTP and the websocket, in a browser, and ComfyUI's own execution tests."""
