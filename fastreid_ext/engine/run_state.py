"""What a checkpoint must hold beside weights so that a run can be continued from it, each value in its form."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from fastreid_ext.engine.weight_average import WeightAverage

# Optimiser -> what it keeps of each parameter from its first step on.
KEPT = {
    "Adam": {"step", "exp_avg", "exp_avg_sq"},
    "AdamW": {"step", "exp_avg", "exp_avg_sq"},
    "SGD": {"momentum_buffer"},
}
OPTIONAL = ("grad_scaler",)  # a run that goes on in float16 on another device begins to scale there
SCORES = ("metric", "best_metric")


def faults_of(checkpoint: Mapping[str, Any], states: Mapping[str, Any]) -> list[str]:
    """Return what keeps a run from being continued from a checkpoint, an empty list if nothing does.

    Args:
        checkpoint: as it was read.
        states: name -> the run's own optimiser, schedules, scaler and average of weights.
    """
    missing = [name for name in ("epoch", *states) if name not in checkpoint and name not in OPTIONAL]
    faults = [f"it has no {' and no '.join(missing)}"] if missing else []
    for key in ("epoch", "seed"):
        value = checkpoint.get(key, 0)
        if not (_is_int(value) and 0 <= value < 2**63):
            faults.append(f"its {key} is {_shown(value)} and must be a whole number from 0 on")
    for key in SCORES:
        value = checkpoint.get(key, 0)
        if not _is_number(value):
            faults.append(f"its {key} is {_shown(value)} and must be a number")
    for name, state in states.items():
        if name in checkpoint and isinstance(state, torch.optim.Optimizer):
            faults += _optimizer_faults(checkpoint[name], state)
        elif name in checkpoint and isinstance(state, WeightAverage):
            faults += state.faults_of(checkpoint[name])
        elif name in checkpoint:
            faults += _schedule_faults(name, checkpoint[name], state)
    return faults


def _optimizer_faults(saved: Any, optimizer: torch.optim.Optimizer) -> list[str]:
    if not (isinstance(saved, dict) and isinstance(saved.get("state"), dict)):
        return ["its optimizer is not the state of one"]
    faults = list(_differences(saved.get("param_groups"), optimizer.state_dict()["param_groups"], "param_groups"))
    if faults:
        return [f"its optimizer is of another form ({faults[0]})"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    wanted = KEPT.get(type(optimizer).__name__, set())
    plain = type(optimizer) is torch.optim.SGD and not any(group["momentum"] for group in optimizer.param_groups)
    if not saved["state"] and not plain:
        return ["its optimizer has no state"]
    for index, kept in saved["state"].items():
        if not (
            _is_int(index)
            and 0 <= index < len(parameters)
            and isinstance(kept, dict)
            and (plain or wanted <= kept.keys())
        ):
            return [f"its optimizer has a damaged state ({_shown(index)})"]
        for name, value in kept.items():
            if not _fits(value, parameters[index], exact=bool(wanted)):
                return [f"its optimizer has a damaged state ({name} of parameter {index})"]
    return []


def _fits(value: Any, parameter: torch.Tensor, exact: bool) -> bool:
    """Whether a value that an optimiser keeps is None, a finite number, or finite and of the parameter's shape.

    Optimisers of torch's other than those of KEPT may have one number for a row or column of it, as Adafactor has.
    """
    if not isinstance(value, torch.Tensor):
        return value is None or _is_number(value)
    fits = value.shape in ((), parameter.shape) or (
        not exact
        and value.dim() == parameter.dim()
        and all(side in (1, own) for side, own in zip(value.shape, parameter.shape, strict=True))
    )
    return fits and value.is_floating_point() and bool(torch.isfinite(value).all())


def _schedule_faults(name: str, saved: Any, state: Any) -> list[str]:
    own = state.state_dict()
    faults = list(_differences(saved, own, name))
    if not faults and "last_epoch" in own and not (_is_int(saved.get("last_epoch")) and saved["last_epoch"] >= 0):
        faults = [f"{name}.last_epoch is {_shown(saved.get('last_epoch'))}"]
    if not faults:  # torch makes each key an attribute, a method's name too
        faults = [f"{name}.{key} is unknown" for key in saved if key not in own and hasattr(state, str(key))]
    return [f"its {name} is of another form ({faults[0]})"] if faults else []


def _differences(saved: Any, own: Any, where: str) -> Iterator[str]:
    """Yield where two values differ in form: types, lengths of lists; keys that only one has don't matter."""
    if isinstance(own, dict):
        if not isinstance(saved, dict):
            yield f"{where} is {_shown(saved)}"
            return
        for key in own.keys() & saved.keys():
            yield from _differences(saved[key], own[key], f"{where}.{key}")
    elif isinstance(own, list | tuple):
        if not isinstance(saved, Sequence) or isinstance(saved, str) or len(saved) != len(own):
            yield f"{where} is {_shown(saved)}"
            return
        for index, (a, b) in enumerate(zip(saved, own, strict=True)):
            yield from _differences(a, b, f"{where}[{index}]")
    elif _is_number(own):
        if not _is_number(saved):
            yield f"{where} is {_shown(saved)}"
    elif own is not None and saved is not None and type(saved) is not type(own):
        yield f"{where} is {_shown(saved)}"


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, int | float | str | None) else f"of type {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:40]}..."
