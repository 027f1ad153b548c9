"""Sends the calls of fal's Python client to your own server, without a change to the program.

FOOOCUS_GATEWAY=http://127.0.0.1:8190 FAL_KEY=any PYTHONPATH=folder/of/this/file python program.py
"""

import os

try:
    import fal_client.client as client
except ImportError:
    pass
else:
    base = os.environ.get("FOOOCUS_GATEWAY", "http://127.0.0.1:8190").rstrip("/")
    client.RUN_URL_FORMAT, client.QUEUE_URL_FORMAT = f"{base}/fal/run/", f"{base}/fal/queue/"
    client.REST_URL, client.CDN_URL = f"{base}/fal/rest", f"{base}/fal/cdn"
    client.REALTIME_URL_FORMAT = base.replace("http", "ws", 1) + "/fal/run/"
