"""Facts about a run for the foot of the page: sizes, time and cost of each stage, versions, and what was set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from pydantic import BaseModel

from stg_ray.artifacts.left_to_auto import left_to_auto
from stg_ray.config import Config
from stg_ray.config.presets import PRESETS
from stg_ray.config.secrets import HIDDEN, SECRET_NAME, without_secrets
from stg_ray.config.tuning import TUNED
from stg_ray.models.files import load_weights
from stg_ray.models.trunks import trunk_name
from stg_ray.report.evidence import Evidence
from stg_ray.shown import counted, ranged
from stg_ray.stages import STAGES, TUNING

PROFILED = "profile/network.pt"
BUFFERS = r"^normalize\.|\.(running_mean|running_var|num_batches_tracked)$"
"""Tensors of a network that are not trained."""
OF_COST = "samples × epochs × parameters"

SET_BY = ("", "given", "preset", "tuning", "auto")
"""Whom settings are set by, in the order in which they are shown."""


@dataclass(frozen=True)
class StageFacts:
    """A finished stage.

    Attributes:
        seconds: that it took.
        work: what it did, in words; empty where there is nothing to say.
    """

    name: str
    seconds: float
    work: str


@dataclass(frozen=True)
class Setting:
    """A key of the configuration that is not at its default, such as `retrain.seeds`.

    Attributes:
        set_by: whom: given, preset, tuning or auto; empty where the version that began the run did not note it.
    """

    key: str
    value: str
    default: str
    set_by: str = ""


def stages_of(evidence: Evidence) -> list[StageFacts]:
    """Return the stages that are done, with their time and their work."""
    index = evidence.summary.index
    work = {
        "parts": f"{len(index.tasks):,} tasks, {sum(map(sum, index.rows.values())):,} samples",
        "profile": _profiled(evidence),
        "affinity": ", ".join(evidence.config.affinity.methods),
        "group": evidence.groups.method,
        "retrain": _trained(evidence.trainings),
    }
    found = []
    for stage in STAGES:
        marker = evidence.run.marker(stage)
        if stage != "report" and isinstance(marker.get("seconds"), int | float):
            found.append(StageFacts(stage, float(marker["seconds"]), work.get(stage, "")))
    return found


def _profiled(evidence: Evidence) -> str:
    """Say how long the profile trained, and what it cost; empty for a run that has no file of that."""
    if evidence.epochs is None or not evidence.run.exists(PROFILED):
        return ""
    epochs = int(evidence.epochs["epoch"].max())
    weights = load_weights(evidence.run, PROFILED).items()
    n_parameters = sum(value.numel() for name, value in weights if not re.search(BUFFERS, name))
    cost = evidence.summary.index.n_samples() * epochs * n_parameters
    return f"{counted(epochs, 'epoch')} of one network of all tasks, cost {cost:.2e} ({OF_COST})"


def _trained(networks: pd.DataFrame) -> str:
    """Say how many networks were trained, and what they cost; empty where there are none."""
    if networks.empty:
        return ""
    seconds, cost = networks["seconds"].sum(), networks["cost"].sum()
    return f"{counted(len(networks), 'network')}, {seconds:,.0f} s of training, cost {cost:.2e} ({OF_COST})"


def versions_of(evidence: Evidence) -> dict[str, str]:
    """Return the versions that made the last stage that is done; empty for version 0.1, which kept none."""
    for stage in reversed(STAGES):
        versions = evidence.run.marker(stage).get("versions")
        if stage != "report" and isinstance(versions, dict):
            return {str(name): str(version) for name, version in versions.items()}
    return {}


def devices_of(evidence: Evidence) -> list[str]:
    """Return the names of the devices that trained the plans; none for networks of before, which do not say it."""
    return sorted({network["device"] for _, _, network in evidence.networks if "device" in network})


def duration(seconds: float) -> str:
    """Return a time in words, such as 1 min 48 s.

    Example:
        >>> duration(0.4), duration(108), duration(7260)
        ('0.4 s', '1 min 48 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60) if seconds >= 3600 else int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min {seconds - 60 * minutes:.0f} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def settings_of(evidence: Evidence) -> list[Setting]:
    """Return the settings that are not at their defaults: first those that were given, last what auto stood for."""
    left, config = left_to_auto(evidence.run), evidence.config
    if left is None:
        return changed_settings(config)
    preset = dict(_flat(PRESETS[config.data.preset].settings)) if config.data.preset in PRESETS else {}
    tuned = evidence.run.read_json(TUNING)["found"] if config.tune.trials and evidence.run.exists(TUNING) else {}
    of_tuning = {f"{section}.{key}" for key in tuned for section in TUNED.get(key, ())}
    values = dict(_flat(config.model_dump()))

    def set_by(key: str) -> str:
        if key in of_tuning:
            return "tuning"
        if key in left:
            return "auto"
        return "preset" if key in preset and preset[key] == values.get(key) else "given"

    changed = [replace(setting, set_by=set_by(setting.key)) for setting in changed_settings(config)]
    changed += [Setting(key, value, "auto", "auto") for key, value in _found(evidence) if key in left]
    return sorted(changed, key=lambda setting: SET_BY.index(setting.set_by))


def _found(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What the stages found for settings that stay `auto` in the configuration."""
    config = evidence.config
    if config.model.trunk == "auto":
        yield "model.trunk", trunk_name(config.model, evidence.summary.index.input_shape)
    if config.profile.epochs == "auto" and evidence.epochs is not None:
        yield "profile.epochs", f"{int(evidence.epochs['epoch'].max())}"
    if config.grouping.groups == "auto":
        yield "grouping.groups", f"{len(evidence.groups.groups)}"
    lengths = [network["epochs"] for _, _, network in evidence.networks]
    if config.retrain.epochs == "auto" and lengths:
        yield "retrain.epochs", ranged(min(lengths), max(lengths))


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of all sections, with their values."""
    for section, inner in values.items():
        if isinstance(inner, Mapping):
            yield from ((f"{section}.{key}", value) for key, value in inner.items())
        else:
            yield section, inner


def changed_settings(config: Config) -> list[Setting]:
    """Return the keys that are not at their defaults, in the order of the configuration, without secrets."""
    return list(_changes("", config, None))


def _changes(key: str, value: Any, default: Any) -> Iterator[Setting]:
    """The keys below this one whose values are others. A section that is optional has keys with defaults of their own,
    and what else is none by default has the keys that are given."""
    if isinstance(value, BaseModel):
        of_keys = default if isinstance(default, BaseModel) else None
        for name, own in _defaults(value).items():
            below = own if of_keys is None else getattr(of_keys, name)
            yield from _changes(f"{key}.{name}".lstrip("."), getattr(value, name), below)
    elif isinstance(value, dict) and value and (default is None or (isinstance(default, dict) and default)):
        for name, own in value.items():
            yield from _changes(f"{key}.{name}", own, (default or {}).get(name))
    elif value != default:
        yield Setting(key, HIDDEN if SECRET_NAME.search(key) else _text(value), _text(default))


def _defaults(section: BaseModel) -> dict[str, Any]:
    """The default of each key of a section; None where it has none."""
    fields = type(section).model_fields.items()
    return {name: None if f.is_required() else f.get_default(call_default_factory=True) for name, f in fields}


def _text(value: Any) -> str:
    """A value as it is given; of sections in it what is not at its default."""
    if isinstance(value, BaseModel):
        value = {name: own for name, d in _defaults(value).items() if (own := getattr(value, name)) != d}
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_text(own)}' for name, own in without_secrets(value).items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return "none" if value is None else str(value)
