"""Counters and times for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """The metrics of one gateway."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.accepted = Counter("fooocus_requests_accepted", "Accepted requests.", ["endpoint"], registry=registry)
        self.finished = Counter(
            "fooocus_requests_finished", "Finished requests.", ["endpoint", "status"], registry=registry
        )
        self.replies = Counter(
            "fooocus_http_replies", "Replies by service and status.", ["service", "status"], registry=registry
        )
        self.waited = Histogram(
            "fooocus_queue_seconds", "Time from acceptance to start.", buckets=SECONDS, registry=registry
        )
        self.seconds = Histogram(
            "fooocus_run_seconds", "Running time of successful requests.", buckets=SECONDS, registry=registry
        )
        self.deliveries = Counter("fooocus_webhook_calls", "Webhook calls.", ["outcome"], registry=registry)
        self._waiting = Gauge("fooocus_requests_waiting", "Requests in the queue.", registry=registry)
        self._running = Gauge("fooocus_requests_running", "Requests on a worker.", registry=registry)
        self._workers = Gauge("fooocus_workers", "Workers by state.", ["state"], registry=registry)

    def watch(self, waiting: Callable[[], float], running: Callable[[], float]) -> None:
        """Read the numbers of waiting and running requests when metrics are collected."""
        self._waiting.set_function(waiting)
        self._running.set_function(running)

    def text(self, workers: list[str]) -> bytes:
        """Return the metrics in the text format of Prometheus; `workers` are the states of the workers."""
        for state in ("starting", "idle", "busy", "broken", "closed"):
            self._workers.labels(state).set(workers.count(state))
        return generate_latest(self._registry)
