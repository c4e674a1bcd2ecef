"""What an export holds: images in, test features out, without what training alone reads."""

import copy
from collections.abc import Iterable

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.engine.checkpoint import training_only_keys
from fastreid_ext.errors import ConfigError, UserError, first_line, is_ours
from fastreid_ext.inference.record import ModelRecord
from fastreid_ext.layers import unit_length

IMAGES, FEATURES, BATCH = "images", "features", "batch"  # names of the input, the output and its first axis
DTYPES = {"float32": torch.float32, "float16": torch.float16}
EXAMPLE = 2  # images that a graph is traced with; torch takes a batch of 1 for one that is always 1


class ExportError(UserError):
    """A model that can't be exported, or a file that is not what the model is."""


class FeatureGraph(nn.Module):
    """Images (B, 3, H, W) in float32 -> test features (B, D) of one image each, by a copy of a model on the CPU.

    Args:
        model: of ``load_trained``, in eval mode; it is left as it is.
        record: says what the images hold, whether a feature has length 1, and the type of weights and features.

    Raises:
        ExportError: a model of the user's own that does not say how it normalises images.
    """

    def __init__(self, model: nn.Module, record: ModelRecord):
        super().__init__()
        if not callable(getattr(model, "preprocess_image", None)):
            raise ExportError(
                f"{record.architecture} has no preprocess_image(), the method by which FastReID's models normalise"
                " images, so an export can't say which pixels it takes: give it one"
            )
        self.dtype = DTYPES[record.dtype]
        self.model = copy.deepcopy(model).cpu().eval().to(self.dtype)
        # MODEL.CHANNELS_LAST is of PyTorch alone; torch.export takes its weights for incomplete ones.
        self.model = self.model.to(memory_format=torch.contiguous_format)
        # Normalised here, in float32 and out of place: 0 to 255 minus a mean has no exact float16.
        self.model.preprocess_image = _as_they_are
        leave_out(self.model, [*training_only_keys(self.model), *_counters(self.model)])
        self.raw, self.normalised = record.pixels == "raw", record.normalised
        for name in ("mean", "std"):
            three = torch.tensor(getattr(record, name)).view(1, 3, 1, 1) if self.raw else None
            self.register_buffer(name, three, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.raw:
            images = (images - self.mean) / self.std
        features = self.model(images.to(self.dtype))
        features = unit_length(features) if self.normalised else features
        return features.to(self.dtype)


def _as_they_are(images: Tensor) -> Tensor:
    return images


def _counters(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_buffers() if name.endswith("num_batches_tracked")]


def leave_out(model: nn.Module, names: Iterable[str]) -> None:
    """Take weights and buffers out of a model that no test feature reads; their attributes stay, as empty tensors.

    A module may still ask its classifier's weight for the type.
    """
    for name in names:
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        holder = module._parameters if leaf in module._parameters else module._buffers
        value = holder.pop(leaf)
        module._non_persistent_buffers_set.discard(leaf)
        setattr(module, leaf, None if value is None else value.detach().new_empty(0))


def image_size(cfg: CfgNode) -> tuple[int, int]:
    """Return (height, width) of the images of a config's test.

    Raises:
        ConfigError: images of several sizes.
    """
    cropped = cfg.INPUT.CROP.ENABLED
    size = list(cfg.INPUT.CROP.SIZE if cropped else cfg.INPUT.SIZE_TEST)
    size = size * 2 if cropped and len(size) == 1 else size
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(
            f"INPUT.SIZE_TEST is {list(cfg.INPUT.SIZE_TEST)}, and an exported model takes images of one size: give"
            " height and width, such as [256, 128]"
        )
    return size[0], size[1]


@torch.no_grad()
def trace(graph: FeatureGraph, size: tuple[int, int]) -> torch.export.ExportedProgram:
    """Return the operations of a graph for any number of images of one size, and the weights that they read.

    What they do not read is taken out of the graph.

    Raises:
        ExportError: a model of FastReID or of the user's own that torch.export can't trace.
    """
    program = _exported(graph, size)
    unread = unread_by(program)
    if unread:  # such as the queue of FastReID's MoCo
        leave_out(graph, unread)
        program = _exported(graph, size)
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:  # the stack trace has paths of this machine
                node.meta.pop("stack_trace", None)
    return program


def _exported(graph: FeatureGraph, size: tuple[int, int]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim(BATCH, min=1)
    example = torch.full((EXAMPLE, 3, *size), 127.0)
    try:
        return torch.export.export(graph, (example,), dynamic_shapes=({0: batch},), strict=False)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_ours(error) or type(graph.model).__module__.startswith("fastreid_ext."):
            raise
        raise ExportError(
            f"{type(graph.model).__name__} can't be exported for batches of any size: {first_line(error)}"
        ) from error


def unread_by(program: torch.export.ExportedProgram) -> list[str]:
    """Return the names of the weights and buffers that no operation of a program reads."""
    read = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    kinds = ("PARAMETER", "BUFFER")
    specs = [spec for spec in program.graph_signature.input_specs if spec.kind.name in kinds]
    return [spec.target for spec in specs if spec.arg.name not in read]
