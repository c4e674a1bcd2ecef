"""Take the last downsampling out of a trunk that was built with it, so that its weights stay what they are."""

from torch import Tensor, nn

from fastreid_ext.modeling.module_chain import Call, innermost, size_of, watch

__all__ = ["keep_size", "remove_last_downsampling"]


def remove_last_downsampling(trunk: nn.Module, images: Tensor, last_stage: list[str]) -> bool:
    """Let stage 4 keep the size of stage 3's map; return whether it does so now.

    Every convolution and pooling of the stage that halves the size works at a stride of 1: convolutions keep their
    weights, as in the trunks of re-identification, and are not dilated. Pooling over an even number of pixels has no
    middle, and is left out.

    Args:
        trunk: in eval mode.
        images: (1, 3, H, W) to look with, H and W multiples of 32 and not equal.
        last_stage: the names of the modules of stage 4.
    """
    whole = watch(trunk, trunk, images)
    coarse = tuple(whole.made.shape[2:])
    fine = tuple(2 * side for side in coarse)
    stage = [call for call in whole.calls if call.name in last_stage]
    for call in innermost(stage):
        if call.given is not None and size_of(call.given) == fine and size_of(call.made) == coarse:
            keep_size(trunk, call)
    try:
        return size_of(watch(trunk, trunk, images).made) == fine
    except RuntimeError:  # two ways through a block that no longer have one size
        return False


def keep_size(trunk: nn.Module, call: Call) -> None:
    """Give a module a stride of 1, and the padding with which its map keeps its size."""
    module, size = call.module, size_of(call.given)
    if not hasattr(module, "stride"):
        return
    module.stride = 1 if isinstance(module.stride, int) else (1, 1)
    if _makes(module, call.given) == size:
        return
    if isinstance(module, nn.Conv2d):
        # An even number of pixels has its further row and column behind the map: the first windows stay where they are.
        module.register_forward_pre_hook(_pad_behind) if _is_even(module) else _pad(module)
    elif _is_even(module):
        outer, _, last = call.name.rpartition(".")
        setattr(trunk.get_submodule(outer), last, nn.Identity())
    else:
        _pad(module)


def _makes(module: nn.Module, given: Tensor) -> tuple[int, ...] | None:
    try:
        return size_of(module(given))
    except RuntimeError:  # without padding there is nothing left of so small a map
        return None


def _is_even(module: nn.Module) -> bool:
    return any(side % 2 == 0 for side in _kernel(module))


def _kernel(module: nn.Module) -> tuple[int, int]:
    size = getattr(module, "kernel_size", 1)
    return (size, size) if isinstance(size, int) else tuple(size)


def _pad(module: nn.Module) -> None:
    module.padding = tuple(side // 2 for side in _kernel(module))


def _pad_behind(module: nn.Conv2d, inputs: tuple[Tensor]) -> tuple[Tensor]:
    rows, columns = (side - 1 - 2 * padding for side, padding in zip(module.kernel_size, module.padding, strict=True))
    return (nn.functional.pad(inputs[0], (0, columns, 0, rows)),)
