"""Backbones that train in a second: FastReID's ResNet with one block a stage and an eighth of the planes.

0.2 M weights, 64 channels at the end. Whoever imports this may name them in MODEL.BACKBONE.NAME; they read LAST_STRIDE
and NORM, and no DEPTH.
"""

import fastreid_ext  # noqa: F401  isort:skip  (heals the host)

from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones.resnet import BasicBlock, ResNet

from fastreid_ext.occluded.backbone import add_non_local, settings_of


class TinyResNet(ResNet):
    """The ResNet of such a config; nothing is pretrained."""

    def __init__(self, cfg):
        node = cfg.MODEL.BACKBONE
        super().__init__(node.LAST_STRIDE, node.NORM, False, False, False, BasicBlock, [1, 1, 1, 1], [0, 0, 0, 0])

    def _make_layer(self, block, planes, *args, **kwargs):
        return super()._make_layer(block, planes // 8, *args, **kwargs)


@BACKBONE_REGISTRY.register()
def build_tiny_resnet_backbone(cfg):
    return TinyResNet(cfg)


@BACKBONE_REGISTRY.register()
def build_tiny_dnl_backbone(cfg):
    """With the non-local blocks of MODEL.BACKBONE.DNL."""
    return add_non_local(TinyResNet(cfg), **settings_of(cfg.MODEL.BACKBONE.DNL))
