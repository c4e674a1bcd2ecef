"""The authors' published weights, in our names.

Their ``state_dict`` has 538 entries for the full model. Every tensor is taken as it is; nothing is computed.
"""

import re
from collections.abc import Mapping

import torch
from fastreid.modeling.backbones.resnet import Bottleneck, ResNet
from torch import Tensor

from fastreid_ext.modeling.weights import CONVERTERS, WeightsError
from fastreid_ext.msreid.heads import MaskSeparatedHead
from fastreid_ext.msreid.meta_arch import MSReID

# Their name -> ours; \1 and \2 are groups, {stage} is the group plus one.
RULES = (
    (r"input_layer\.0\.0\.(.+)", r"backbone.conv1.\1"),
    (r"input_layer\.0\.1\.(.+)", r"backbone.bn1.\1"),
    (r"(layer[1-4]\..+)", r"backbone.\1"),
    (r"soft_attn\.(\d)\.spatial_attn\.conv0\.(.+)", r"attention.{stage}.weigh.\2"),
    (r"soft_attn\.(\d)\.spatial_attn\.conv1\.(.+)", r"attention.{stage}.shrink.\2"),
    (r"soft_attn\.(\d)\.spatial_attn\.conv2\.(.+)", r"attention.{stage}.refine.\2"),
    (r"soft_attn\.(\d)\.channel_attn\.conv\.0\.(.+)", r"attention.{stage}.squeeze.0.\2"),
    (r"soft_attn\.(\d)\.channel_attn\.conv\.1\.(.+)", r"attention.{stage}.squeeze.1.\2"),
    (r"soft_attn\.(\d)\.channel_attn\.conv\.3\.(.+)", r"attention.{stage}.excite.0.\2"),
    (r"soft_attn\.(\d)\.channel_attn\.conv\.4\.(.+)", r"attention.{stage}.excite.1.\2"),
    (r"soft_attn\.(\d)\.conv\.(.+)", r"attention.{stage}.combine.\2"),
    (r"mask\.bottleneck\.(.+)", r"heads.mask.body.\1"),
    (r"mask\.branch\.(.+)", r"heads.mask.shortcut.\1"),
    (r"reduction\.bottleneck\.(.+)", r"heads.reduce.global_.body.\1"),
    (r"reduction\.branch\.(.+)", r"heads.reduce.global_.shortcut.\1"),
    (r"local_reduction\.bottleneck\.(.+)", r"heads.reduce.local.body.\1"),
    (r"local_reduction\.branch\.(.+)", r"heads.reduce.local.shortcut.\1"),
    (r"bottleneck\.(.+)", r"heads.necks.global_.bnneck.\1"),
    (r"local_bottleneck\.(.+)", r"heads.necks.local.bnneck.\1"),
    (r"classifier\.(.+)", r"heads.necks.global_.\1"),
    (r"local_classifier\.(.+)", r"heads.necks.local.\1"),
)


def our_name(theirs: str) -> str | None:
    """Return our key of one of the authors' keys, None where there is none."""
    for pattern, ours in RULES:
        match = re.fullmatch(pattern, theirs)
        if match:
            stage = str(int(match[1]) + 1) if "{stage}" in ours else ""
            return match.expand(ours.replace("{stage}", stage))
    return None


def switches(ours: Mapping[str, Tensor]) -> dict[str, bool]:
    """Return MODEL.MSREID's switches, each with whether the weights have its modules."""
    modules = {"ATTENTION": "attention.", "LOCAL": "heads.reduce.local.", "MASK": "heads.mask."}
    return {switch: any(key.startswith(prefix) for key in ours) for switch, prefix in modules.items()}


def convert_authors_weights(theirs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the authors' weights and check them against the model that they are for.

    Args:
        theirs: their state dict, also with DataParallel's "module." before every key.

    Returns:
        Our state dict, and the KEY VALUE pairs that its model needs on top of a shipped MSReID config.

    Raises:
        WeightsError: a key that is unknown, missing or present twice, or that has another shape.
    """
    bare = {key.removeprefix("module."): value for key, value in theirs.items()}
    if len(bare) < len(theirs):
        raise WeightsError(f"{len(theirs) - len(bare)} keys occur twice, with and without the prefix 'module.'")
    names = {key: our_name(key) for key in bare}
    unknown = [key for key, name in names.items() if name is None]
    if unknown:
        raise WeightsError(f"{len(unknown)} keys are not of the authors' MSReID, such as {unknown[:3]}")
    ours = {names[key]: value for key, value in bare.items()}
    if "heads.necks.global_.weight" not in ours:
        raise WeightsError("the weights have no classifier.weight, so they are not of the authors' MSReID")
    present = switches(ours)
    num_classes = next(iter(ours["heads.necks.global_.weight"].shape), 1)
    expected = _shapes(num_classes, present)
    missing = sorted(expected.keys() - ours.keys())
    extra = sorted(ours.keys() - expected.keys())
    wrong = sorted(key for key in expected.keys() & ours.keys() if expected[key] != ours[key].shape)
    if missing or extra or wrong:
        raise WeightsError(
            f"the weights do not fit MSReID: {len(missing)} keys missing {missing[:3]}, {len(extra)} left over"
            f" {extra[:3]}, {len(wrong)} of another shape {wrong[:3]}"
        )
    overrides = ["MODEL.MSREID.STEM_POOL", "torchvision"]
    for switch, there in present.items():
        overrides += [] if there else [f"MODEL.MSREID.{switch}", "False"]
    return ours, overrides


def _shapes(num_classes: int, present: Mapping[str, bool]) -> dict[str, torch.Size]:
    """Shapes of a ResNet-50 MSReID with these switches, without the centers, which the authors keep elsewhere."""
    with torch.device("meta"):
        head = MaskSeparatedHead(
            local_channels=1024,
            global_channels=2048,
            num_classes=num_classes,
            local=present["LOCAL"],
            mask=present["MASK"],
        )
        model = MSReID(
            backbone=ResNet(1, "BN", False, False, False, Bottleneck, [3, 4, 6, 3], [0, 0, 0, 0]),
            head=head,
            num_classes=num_classes,
            loss_terms=[],
            pixel_mean=[0.0] * 3,
            pixel_std=[1.0] * 3,
            attention=present["ATTENTION"],
        )
    return {key: value.shape for key, value in model.state_dict().items()}


CONVERTERS["msreid"] = convert_authors_weights
