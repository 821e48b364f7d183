"""Code that a run directory names, and whether it may be imported: a directory may come from somebody else.

A run directory is data, but for what its configuration names as `module:function`: a trunk, a metric, the source of a
task set, affinities, and a clusterer. Importing them runs code. A run that this user began from a configuration of
theirs is signed, with a key that lies in the user's home on this machine; from any other directory such code is
imported only when asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stg_ray.artifacts.given_trunk import TRUNK_FILE
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.given import PREFIX, kept
from stg_ray.errors import InputError

SIGNATURE = ".stages/code.json"


def named_code(config: Config) -> dict[str, str]:
    """Return the `module:function` names of a configuration, by the key that names them."""
    names = {"model.trunk": config.model.trunk if ":" in config.model.trunk else None}
    names["data.function"] = config.data.function
    names |= {f"metric.{kind}": name if ":" in name else None for kind, name in config.metric.model_dump().items()}
    names |= {f"affinity.methods[{i}]": name if ":" in name else None for i, name in enumerate(config.affinity.methods)}
    names["grouping.method"] = config.grouping.method if ":" in config.grouping.method else None
    names |= {f"data.{name}.function": part.function for name, part in config.data.joined().items()}
    return {key: name for key, name in names.items() if name is not None}


def sign_code(run: Storage, config: Config) -> None:
    """Note in a run directory that this user's own configuration named its code.

    Nothing is noted where the configuration names none, or where the key cannot be kept.

    Raises:
        InputError: a trunk was given as a module, not to this process, and the directory's is not signed.
    """
    if config.model.trunk.startswith(PREFIX) and kept(config.model.trunk) is None:
        check_code(run, config, trust_code=False)
    sign(run, config)


def sign(run: Storage, config: Config) -> None:
    """Sign the code that a configuration names, in a run directory whose other code is this user's own."""
    if named_code(config) and (key := _key(create=True)) is not None:
        run.write_json(SIGNATURE, {"signature": _signature(key, run, config)})


def is_own(run: Storage, config: Config) -> bool:
    """Return whether a run directory names no code, or is signed with this user's key."""
    if not named_code(config):
        return True
    key, found = _key(create=False), _read_signature(run)
    return key is not None and isinstance(found, str) and hmac.compare_digest(found, _signature(key, run, config))


def check_code(run: Storage, config: Config, *, trust_code: bool, sections: Sequence[str] | None = None) -> None:
    """Refuse to import code that a run directory names, unless it is this user's own or they trust it.

    Args:
        run: the run directory.
        config: as the directory has it.
        trust_code: whether the user trusts it.
        sections: of the configuration whose code is imported; by default of all.

    Raises:
        InputError: the directory names code, it is not signed with this user's key, and `trust_code` is not given.
    """
    code = {
        key: name for key, name in named_code(config).items() if sections is None or key.partition(".")[0] in sections
    }
    if not code or trust_code or is_own(run, config):
        return
    name, value = next(iter(code.items()))
    raise InputError(
        f"{run.uri} names code that would be run ({name}: {value}), and was not made by you on this machine: look at "
        "it, then give --trust-code (in Python trust_code=True)"
    )


def _read_signature(run: Storage) -> Any:
    """Read the signature of a run directory; None where there is none, or none that can be read."""
    try:
        signature = run.read_json(SIGNATURE)
    except (FileNotFoundError, ValueError):
        return None
    return signature.get("signature") if isinstance(signature, dict) else None


def _signature(key: bytes, run: Storage, config: Config) -> str:
    text = json.dumps(named_code(config), sort_keys=True)
    if config.model.trunk.startswith(PREFIX):  # a pickle is code
        text += hashlib.sha256(run.read_bytes(TRUNK_FILE) if run.exists(TRUNK_FILE) else b"").hexdigest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key(*, create: bool) -> bytes | None:
    """Read this user's key, made at the first use; None where there is none and none can be kept."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    try:
        file = Path(home).expanduser() / "stg_ray" / "key"
        if create and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(secrets.token_bytes(32))
        return file.read_bytes() or None
    except (OSError, RuntimeError):  # no home, or one that cannot be written to
        return None
