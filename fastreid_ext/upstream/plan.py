"""What each project takes, and what of ours a project in a checkout does without.

A project is written from the definitions that its paper's registered parts reach. The rules below say where that
would bring along what has no place there: the vision transformers of timm, our commands and our trainer.
"""

from dataclasses import dataclass

MOST_LINES = 2000  # of a project, its tests aside


@dataclass(frozen=True)
class Paper:
    """A project of ours.

    Attributes:
        project: its folder in ``projects`` and ``configs``.
        package: its package, ours and the one that is written.
        title: what a README calls it.
    """

    project: str
    package: str
    title: str


PAPERS = (
    Paper("DeepMiner", "deepminer", "Deep Miner (Benzine et al., 2021)"),
    Paper("MGRe", "mgre", "Multi-granularity features from multi-granularity regions (Yang et al., 2021)"),
    Paper("MSReID", "msreid", "Mask separated feature learning (Kim and Kim)"),
    Paper("OccludedReID", "occluded", "Occluded re-identification, single-scale global features (Yan et al., 2021)"),
    Paper("Res2NetMultiTask", "res2net", "Improved Res2Net (Cao and Lee)"),
)

# Data sets and trunk of FastReID's that a config may name, beside trunks of the paper; a config with others stays here.
DATA_SETS = ("Market1501", "DukeMTMC")
TRUNKS = ("build_resnet_backbone",)

# Conditions that are settled in a checkout. Classes that nothing there is an instance of: timm's vision transformers.
NEVER_INSTANCES = ("TokenTrunk",)
SETTLED = {
    "self.elimination is not None": False,
    "hasattr(backbone, f'NL_{stage}_idx')": True,  # FastReID's ResNet
}
# Function -> what a call of it becomes; the numbers are its arguments.
INLINED = {
    "fastreid_ext.modeling.tokens.map_of": "{0}",
    "fastreid_ext.modeling.tokens.on_map": "{0}({1})",
    "fastreid_ext.modeling.tokens.run_module": "{0}({1})",
}
NO_UNION_WITH = "Tokens"  # Tensor | Tokens -> Tensor
# Names, by module, whose definitions and uses are cut: methods and attributes of classes, and arguments.
CUT_MEMBERS = {
    "fastreid_ext.modeling.branched": ("test_dim", "momentum_elimination", "elimination"),
    "fastreid_ext.modeling.loss_table": ("_seen",),
}
# The same for a project whose configs augment no batches.
CUT_WITHOUT_AUGMENTATIONS = {
    "fastreid_ext.modeling.branched": ("augmentations",),
    "fastreid_ext.upstream.stand_ins.keys": ("add_augmentation_config",),
}
# Names that weights had before, of which none is published; what says that a check was done, which trimming takes out.
CUT_EVERYWHERE = ("renamed", "checked", "needs")
DROPPED_DECORATORS = ("with_pretrained(RESNET)",)  # FastReID's own builder loads them
# Abilities that only our commands ask for: their methods are left out where nothing else calls them.
NEEDED_ABILITIES = ("HasBranches",)
# Table -> who chooses its rows.
TABLES = {
    "fastreid_ext.modeling.loss_table": "LOSSES",
    "fastreid_ext.modeling.augmentation_table": "AUGMENTATIONS",
}
LEFT_OUT = ("build_dnl_backbone",)  # what would register itself for trunks other than FastReID's ResNet
