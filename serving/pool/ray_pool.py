"""A pool of workers over a Ray cluster, one for each GPU, or for each node without one."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import itertools
import os
import queue
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...pipelines.errors import BadValue, UserError
from ...pipelines.files import file_state
from .frames import Frame
from .ray_leftovers import SESSIONS, end_leftovers, record, remove_session
from .ray_worker import STORE, RayWorker, model_digests
from .settings import WorkerSettings, versions
from .supervisor import GRACE, Connection, Place, SupervisedPool

POLL_SECONDS = 0.5
CONNECT_SECONDS = 300
AUTHENTICATION = "RAY_AUTH_MODE"
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # without it, a driver on 127.0.0.1 waits for ever
CURRENT_CLUSTER = SESSIONS / "ray_current_cluster"  # what "auto" means, written by `ray start`


class RayPool(SupervisedPool):
    """Actors on the nodes of a Ray cluster, which are replaced when they end. One such pool in a process at a time.

    `address`: "auto", "local" for a cluster of this machine alone, or HOST:PORT. `settings`: its folders are paths on
    the nodes. `workers`: by default one for each GPU, else one for each node. `expected`: the versions that workers
    must have, by default those of this process. Raises UserError without Ray, without a cluster there, and for a
    cluster beyond this machine without token authentication.
    """

    def __init__(
        self,
        address: str,
        settings: WorkerSettings | None = None,
        workers: int | None = None,
        grace: float = GRACE,
        expected: Mapping[str, str] | None = None,
    ) -> None:
        records = Path(tempfile.gettempdir()) / STORE
        end_leftovers(records)
        self._ray, session = connected(address)
        self._session = session if address == "local" else ""
        self._record = record(records, session) if address == "local" else None
        self._settings = settings or WorkerSettings()
        self._expected = dict(expected or versions())
        self._id = uuid.uuid4().hex
        self._digests: dict[Any, str] = {}
        self._models = {name: (digest, "the driver") for name, digest in self._models_here().items()}
        self._nodes = _places(self._ray.nodes(), workers)
        on = [node for _, node in self._nodes]
        self._shares = {place.name: (node, on.count(node)) for place, node in self._nodes}
        super().__init__([place for place, _ in self._nodes], grace)
        self.start()

    def _models_here(self) -> dict[str, str]:
        return model_digests([folder for folder in self._settings.models if folder.is_dir()])

    def connect(self, place: Place) -> Connection:
        node, workers_here = self._shares[place.name]
        return RayActor(self._ray, place, node, (self._settings, self._id, workers_here), self._refusal, self._digest)

    def _refusal(self, found: Mapping[str, str], about: Mapping[str, Any]) -> str:
        """Return why a worker does not fit; '' if it does, and its models are those to compare with from now on."""
        wrong = [f"{name} is {found.get(name)} there and {here} here" for name, here in self._expected.items()
                 if found.get(name) != here]  # fmt: skip
        if wrong:
            which = "; ".join(wrong)
            return f"node {about['node']} has other versions, which draw other pixels: {which}; install the same"
        for name, digest in about["models"].items():
            known, where = self._models.setdefault(name, (digest, about["node"]))
            if known != digest:
                return f"{name} is {digest} on node {about['node']} and {known} on {where}; copy the same file to both"
        return ""

    def _digest(self, path: Path) -> tuple[str, bytes | None]:
        """Return the SHA-256 of a file, and its content if it had to be read."""
        state = file_state(path)
        if state in self._digests:
            return self._digests[state], None
        content = path.read_bytes()
        self._digests[state] = hashlib.sha256(content).hexdigest()
        return self._digests[state], content

    def close(self) -> None:
        if not self._closed:
            super().close()
            self._ray.shutdown()
            if self._record is not None:
                remove_session(self._session)
                self._record.unlink(missing_ok=True)


class RayActor:
    """A worker that is an actor of Ray. Frames come by calls that wait for them at the actor."""

    def __init__(
        self,
        ray: Any,
        place: Place,
        node: str,
        opening: tuple[WorkerSettings, str, int],
        refusal: Callable[[Mapping[str, str], Mapping[str, Any]], str],
        digest: Callable[[Path], tuple[str, bytes | None]],
    ) -> None:
        self._ray, self._refusal, self._digest = ray, refusal, digest
        self._name, self._why = place.name, "the worker was stopped"
        self._pid: int | None = None
        self._outbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._lost: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        on_gpu = place.device == "gpu"
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        actor = ray.remote(RayWorker).options(
            num_cpus=1, num_gpus=1 if on_gpu else 0, max_concurrency=4, max_restarts=0, scheduling_strategy=there
        )
        settings, pool, workers_here = opening
        self._actor = actor.remote(settings.as_json(), None if on_gpu else "cpu", pool, workers_here)
        threading.Thread(target=self._write, daemon=True).start()

    @property
    def pid(self) -> int | None:
        return self._pid

    def frames(self) -> Iterator[Frame]:
        from ray.exceptions import GetTimeoutError, RayError

        leaving = False
        try:
            about = self._ray.get(self._actor.about.remote(), timeout=CONNECT_SECONDS)
            self._pid = about["pid"]
            while not leaving:
                for kind, message, blocks in self._ray.get(self._actor.frames.remote(POLL_SECONDS)):
                    refusal = ""
                    if kind == "joined":
                        refusal = self._refusal(message["versions"], about)
                    elif kind == "refused":
                        refusal = f"node {about['node']}: {message['reason']}"
                    if refusal:
                        self.kill()
                        yield Frame("refused", {"reason": refusal})
                        return
                    leaving = leaving or kind == "leaving"
                    yield Frame(kind, message, blocks)
                while not self._lost.empty():
                    yield self._lost.get()
            self.kill()
        except GetTimeoutError:
            self._why = f"the cluster gave {self._name} no place within {CONNECT_SECONDS} s"
            self.kill()
        except RayError as error:
            self._why = f"the worker was lost: {_first_line(error)}"

    def send(self, frame: Frame) -> None:
        self._outbox.put(frame)

    def kill(self) -> None:
        with contextlib.suppress(Exception):  # it is gone already, or Ray is
            self._actor.leave.remote()
            self._ray.kill(self._actor)

    def why(self) -> str:
        self._outbox.put(None)
        return self._why

    def _write(self) -> None:
        """Send jobs with their files, and stops, until the worker ends."""
        from ray.exceptions import RayError

        while (frame := self._outbox.get()) is not None:
            try:
                digests = self._send_files(frame.message["files"]) if frame.kind == "job" else {}
                self._ray.get(self._actor.receive.remote(frame.kind, frame.message, digests))
            except OSError as error:
                reason = f"file {error.filename} can't be read: {error.strerror or error}"
                self._lost.put(Frame("Failed", {"job": frame.message["id"], "reason": reason, "kind": "user"}))
            except RayError:  # the worker is gone, which `frames` reports
                return

    def _send_files(self, files: Mapping[str, str]) -> dict[str, str]:
        """Send the contents that the node does not have, and return the digest of each file."""
        read = {name: (Path(path), *self._digest(Path(path))) for name, path in files.items()}
        digests = {name: digest for name, (_, digest, _) in read.items()}
        missing = set(self._ray.get(self._actor.missing.remote(sorted(set(digests.values()))))) if files else set()
        for path, digest, content in read.values():
            if digest in missing:
                missing.discard(digest)
                self._ray.get(self._actor.keep.remote(digest, path.read_bytes() if content is None else content))
        return digests


def connected(address: str) -> tuple[Any, str]:
    """Connect to a Ray cluster and return the module ray, and the name of the cluster's folder. Raises UserError."""
    address = found_address(address)
    for name, value in {**ENVIRONMENT, **(ON_LOOPBACK if is_loopback(address) else {})}.items():
        os.environ.setdefault(name, value)  # read when Ray is imported
    try:
        import ray
        import ray.util.scheduling_strategies
    except ModuleNotFoundError as error:
        raise UserError("--ray needs Ray: install it with `pip install fooocus-stages[ray]`") from error
    if address != "auto" and not is_loopback(address):
        _demand_token(address)
    where: dict[str, Any] = {"_node_ip_address": "127.0.0.1", "include_dashboard": False} if address == "local" else {}
    try:
        found = ray.init(address=address, logging_level="warning", log_to_driver=False, **where).address_info
    except (ConnectionError, RuntimeError, ValueError, TypeError, ray.exceptions.RayError) as error:
        raise UserError(
            f"no Ray cluster can be used at {address!r}: {_first_line(error)}; see that it runs there, and that it has "
            "the same token as this machine if it demands one"
        ) from error
    try:
        for node in ray.nodes():
            if not is_loopback(node["NodeManagerAddress"]):
                _demand_token(node["NodeManagerAddress"])
    except BadValue:
        ray.shutdown()
        raise
    return ray, Path(found["session_dir"]).name


def _demand_token(where: str) -> None:
    """Raise BadValue unless Ray's token authentication is on."""
    if os.environ.get(AUTHENTICATION) != "token":
        raise BadValue(
            f"the Ray cluster at {where} can be reached from other machines, and whoever reaches a Ray cluster runs "
            f"any code on it: start every node with {AUTHENTICATION}=token and the token that "
            f"`ray get-auth-token --generate` makes, and set {AUTHENTICATION}=token here; or start it on 127.0.0.1"
        )


def found_address(address: str) -> str:
    """Return the address that "auto" stands for: of RAY_ADDRESS, or of the cluster that was started on this machine."""
    if address != "auto":
        return address
    with contextlib.suppress(OSError):
        return os.environ.get("RAY_ADDRESS") or CURRENT_CLUSTER.read_text("utf-8").strip() or address
    return address


def is_loopback(address: str) -> bool:
    """Return whether an address, with or without a port, is of this machine alone."""
    if address == "local":
        return True
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    host = (host if colon and port.isdigit() else address).strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _places(nodes: Sequence[Mapping[str, Any]], workers: int | None) -> list[tuple[Place, str]]:
    """Return a place and its node for each GPU, else for each node; or `workers` places over the nodes."""
    alive = [node for node in nodes if node["Alive"]]
    gpus = [node for node in alive for _ in range(int(node["Resources"].get("GPU", 0)))]
    wanted = workers or len(gpus) or len(alive)
    where = [*itertools.islice(itertools.cycle(gpus or alive), wanted)] if alive else []
    device = "gpu" if gpus else "cpu"
    return [
        (Place(f"{node['NodeManagerHostname']}-{number}", device), node["NodeID"]) for number, node in enumerate(where)
    ]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
