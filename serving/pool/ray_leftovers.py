"""What Ray leaves of a driver which was killed: recorded while it runs, ended and removed at the next start."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

PROCESSES = Path("/proc")  # nothing is recorded where the system has no such folder
SESSIONS = Path("/tmp/ray")  # Ray's folder of logs and sockets, one folder for each cluster
SESSION = "session_"
PATTERN = "driver-*.json"
PARENT, STARTED = 1, 19  # of the fields of a process's stat that follow its name


def record(folder: Path, session: str = "") -> Path:
    """Record the processes that this one has started, directly or not, and return the file; remove it at the end.

    `session`: name of Ray's folder of the cluster, if it is to be removed.
    """
    path = folder / PATTERN.replace("*", str(os.getpid()))
    known = {pid: started_at(pid) for pid in [os.getpid(), *_descendants(os.getpid())]}
    folder.mkdir(parents=True, exist_ok=True)
    processes = [[pid, started] for pid, started in known.items() if started]
    path.write_text(json.dumps({"processes": processes, "session": session}), "utf-8")
    return path


def end_leftovers(folder: Path, sessions: Path = SESSIONS) -> list[int]:
    """End the recorded processes whose driver is gone, remove its folder, and return the ids of the processes.

    A process with a reused id is left.
    """
    ended = []
    for path in folder.glob(PATTERN):
        try:
            found = json.loads(path.read_text("utf-8"))
            (driver, started), *others = found["processes"]
            session = found["session"]
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if started_at(driver) == started:
            continue
        for pid, since in others:
            if started_at(pid) == since:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    ended.append(pid)
        remove_session(session, sessions)
        path.unlink(missing_ok=True)
    return ended


def remove_session(name: str, sessions: Path = SESSIONS) -> None:
    """Remove Ray's folder of a cluster that has ended; nothing else, whatever the name says."""
    if name.startswith(SESSION) and Path(name).name == name:
        shutil.rmtree(sessions / name, ignore_errors=True)


def started_at(pid: int) -> str:
    """Return when a process was started, in ticks of the system; '' for one that is not there or has ended."""
    fields = _fields(pid)
    return fields[STARTED] if fields and fields[0] != "Z" else ""


def _descendants(pid: int) -> list[int]:
    parents = {}
    for folder in PROCESSES.glob("[0-9]*"):
        if fields := _fields(int(folder.name)):
            parents[int(folder.name)] = int(fields[PARENT])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def _fields(pid: int) -> list[str]:
    try:
        return (PROCESSES / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []
