"""Training settings that differ from others."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ringrift_cli.train.settings import TrainSetting


def changed(setting: TrainSetting, **values: Any) -> TrainSetting:
    """The setting with other values, its own or those of its section `train`."""
    own = {one.name for one in fields(setting)}
    section = {name: value for name, value in values.items() if name not in own}
    rest = {name: value for name, value in values.items() if name in own}
    return replace(setting, train=replace(setting.train, **section), **rest)
