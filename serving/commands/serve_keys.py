"""`serve keys` and `serve ca`: API keys of the server, and its certificate authority."""

from __future__ import annotations

import argparse
import datetime
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pipelines.errors import MissingFile
from ..console import Console
from .common import OK, add_command, show

if TYPE_CHECKING:
    from ..gateway.guard.keys import Key, KeyStore

STATE = Path("fooocus-stages-state")
AUTHORITY = "ca"


def add(actions: Any) -> None:
    """Add the actions to the parser of `serve`."""
    keys = actions.add_parser("keys", help="add, list or revoke API keys", description="API keys of the server.")
    commands = keys.add_subparsers(required=True, metavar="ACTION")
    adding = add_command(commands, "add", add_key, "make a key and print it, which can't be done again")
    adding.add_argument("name", help="whose key it is: requests are kept under this name; several keys may share it")
    adding.add_argument("--per-minute", type=int, metavar="N", help="most calls in a minute; default: 6000")
    listing = add_command(commands, "list", list_keys, "list the keys, without their secrets")
    revoking = add_command(commands, "revoke", revoke_keys, "revoke a key, also on a server that runs")
    revoking.add_argument("key", metavar="ID|NAME", help="the key's id, or a name for all keys of that name")
    authority = add_command(
        actions, "ca", make_authority, "make the certificate authority for --tls-proxy and show how clients use it"
    )
    authority.add_argument("--address", default="http://127.0.0.1:8190", help="address of the server")
    for action in (adding, listing, revoking, authority):
        action.add_argument(
            "--state",
            type=Path,
            default=argparse.SUPPRESS,  # the one of `serve` itself, if it is given before the action
            metavar="DIR",
            help=f"the server's folder; default: {STATE}",
        )


def add_key(options: argparse.Namespace, console: Console) -> int:
    """Make a key and print it. Raises BadValue."""
    store = _store(options)
    key = store.add(options.name, **({} if options.per_minute is None else {"per_minute": options.per_minute}))
    show(options, {"key": key, "name": options.name}, [key])
    return OK


def list_keys(options: argparse.Namespace, console: Console) -> int:
    """Print the keys, oldest first."""
    keys = _store(options).list()
    lines = [f"{key.id}  {key.name}  since {_day(key.created)}{_state(key)}" for key in keys]
    show(options, [asdict(key) for key in keys], lines or ["there are no keys: everybody may call the server"])
    return OK


def revoke_keys(options: argparse.Namespace, console: Console) -> int:
    """Revoke the keys of an id or a name. Raises UnknownName."""
    count = _store(options).revoke(options.key)
    show(options, {"revoked": count}, [f"{count} key{'' if count == 1 else 's'} revoked"])
    return OK


def make_authority(options: argparse.Namespace, console: Console) -> int:
    """Make the certificate authority if there is none, and print the variables for its clients."""
    try:
        from ..gateway.guard.tls import Authority, client_variables
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    authority = Authority(_state_folder(options) / AUTHORITY)
    variables = dict(client_variables(options.address, authority))
    show(options, variables, [f"export {name}={shlex.quote(value)}" for name, value in variables.items()])
    return OK


def _store(options: argparse.Namespace) -> KeyStore:
    try:
        from ..gateway.guard.keys import FILE, KeyStore
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return KeyStore(_state_folder(options) / FILE)


def _state_folder(options: argparse.Namespace) -> Path:
    return Path(getattr(options, "state", STATE)).absolute()


def _missing(error: ModuleNotFoundError) -> MissingFile:
    return MissingFile(f"package {error.name} is not installed; run: pip install 'fooocus-stages[serve]'")


def _state(key: Key) -> str:
    return "" if key.revoked is None else f", revoked {_day(key.revoked)}"


def _day(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d")
