"""get_cfg(): the host's defaults with every node of ours."""

import torch
from fastreid.config import CfgNode
from fastreid.config import get_cfg as host_get_cfg

from fastreid_ext.data.body import FLIP_PAIRS
from fastreid_ext.deepminer.config import add_deepminer_config
from fastreid_ext.mgre.config import add_mgre_config
from fastreid_ext.modeling.augmentation_table import add_augmentation_config
from fastreid_ext.modeling.distillation_table import add_distillation_config
from fastreid_ext.modeling.loss_table import add_losses_config
from fastreid_ext.msreid.config import add_msreid_config
from fastreid_ext.occluded.config import add_occluded_config
from fastreid_ext.res2net.config import add_multitask_config, add_res2net_config

# What a key's default was at first, where a later version changed it: what was made before has that value.
FIRST_DEFAULTS = {"MODEL.MGRE.LOCATION.WEIGHT": 1000.0, "MODEL.CHANNELS_LAST": False}
# What a run has that lacks a key, where that is not today's default. A run without MGRe's keys is from before MGRe.
BEFORE_THE_KEY = {"MODEL.CHANNELS_LAST": FIRST_DEFAULTS["MODEL.CHANNELS_LAST"]}


def get_cfg() -> CfgNode:
    """Return FastReID's default config with the keys of fastreid-ext; MODEL.DEVICE is the device at hand."""
    cfg = host_get_cfg()
    subjects = (
        add_engine_config,
        add_losses_config,
        add_augmentation_config,
        add_distillation_config,
        add_deepminer_config,
        add_occluded_config,
        add_msreid_config,
        add_mgre_config,
        add_res2net_config,
        add_multitask_config,
    )
    for add_config in subjects:
        add_config(cfg)
    return cfg


def add_engine_config(cfg: CfgNode) -> None:
    """Add the keys of the trainer."""
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    # Train on MODEL.WEIGHTS that lack weights of the model or have others, or on a BACKBONE.PRETRAIN_PATH that does so
    # for the trunk; the log lists them. False: an error lists them
    cfg.MODEL.WEIGHTS_PARTIAL = False
    cfg.MODEL.BACKBONE.PRETRAIN_PARTIAL = False
    # Channels of the first of the four stages of build_narrow_resnet_backbone; the last has 8 times as many
    cfg.MODEL.BACKBONE.NARROW = CfgNode({"WIDTH": 32})
    # timm's name of the network of build_timm_backbone (docs/trunks.md): convnextv2_tiny, or with the tag of timm's
    # pretrained weights convnextv2_tiny.fcmae_ft_in1k; its default ones are taken without a tag
    cfg.MODEL.BACKBONE.TIMM = CfgNode({"NAME": ""})
    # Of a plain vision transformer of timm's: how often the last block is left out for an image in training, a share
    # that rises linearly from 0 at the first (0.1 to 0.3 are usual); and whether to keep what comes into a block alone
    # for the gradients and run the block again there, which takes less memory and more time
    cfg.MODEL.BACKBONE.TIMM.DROP_PATH = 0.0
    cfg.MODEL.BACKBONE.TIMM.CHECKPOINTING = False
    # Momentum elimination (Yan et al., eq. 6) in any project but theirs, which has MODEL.OCCLUDED.ME: the test feature
    # is made of the features before BNNeck, L2-normalised, less the running mean mu of the training images'. It acts
    # under TEST.METRIC cosine. BETA is the share of the old mean
    cfg.MODEL.TEST_FEATURE = CfgNode({"MOMENTUM_ELIMINATION": {"ENABLED": False, "BETA": 0.9}})
    # Keep maps with their channels innermost (torch.channels_last), which most convolutions run faster in; features
    # differ in their last digits. None: a long training tries both for some seconds and writes into its config.yaml
    # what it takes; all else keeps the usual layout
    cfg.MODEL.CHANNELS_LAST = None
    # One number that makes a run repeatable (model, sampler, augmentation); -1 draws one and writes it down
    cfg.SEED = -1
    # auto | bf16 | fp16. auto is bf16 where the hardware has it; else fp16 on CUDA and float32 on a CPU
    cfg.SOLVER.AMP.DTYPE = "auto"
    # Parts that a batch is computed in, one after the other, before the optimiser's step: less memory, and every loss
    # compares the images of a part alone (docs/reproduce.md)
    cfg.SOLVER.ACCUMULATION = 1
    # Compute maps and features in kernels that torch.compile makes as training and each first evaluation begin, by a
    # compiler of C++ on a CPU, by triton on a GPU: minutes, which long runs may win back (docs/speed.md)
    cfg.SOLVER.COMPILE = False
    # Warm-up in epochs. With it STEPS count epochs from the start of the run, as papers do;
    # with the host's WARMUP_ITERS they count from the end of the warm-up, as the host does
    cfg.SOLVER.WARMUP_EPOCHS = 0
    # What a run leaves. best: model_best.pth, the epoch of the best metric; final: model_final.pth, the last epoch;
    # periodic: model_<epoch>.pth every CHECKPOINT_PERIOD epochs; latest: model_latest.pth, the last epoch with all that
    # --resume needs, which is there in any case while a run goes on. With optimizer the others hold the optimiser's
    # state too, which is twice the size of the weights with Adam
    cfg.SOLVER.CHECKPOINT_KEEP = ("best", "final", "periodic", "latest")
    # Evaluate and save an exponential moving average of the weights: after step t, DECAY * average + (1 - DECAY) *
    # weights, with (1 + t) / (10 + t) in place of DECAY as long as that is smaller (docs/distillation.md)
    cfg.SOLVER.EMA = CfgNode({"ENABLED": False, "DECAY": 0.999})
    # Rate factors by module: [["backbone", 0.1], ["heads", 1.0]]; the longest matching name wins
    cfg.SOLVER.LR_FACTORS = []
    # A further factor on the rates of the trunk, DECAY^(L + 1 - l) for layer l of its L residual blocks, the stem being
    # layer 0 (BEiT, ConvNeXt: 0.65 to 0.9); copies of blocks in side branches have those of the blocks; 1.0 = none
    cfg.SOLVER.LAYER_DECAY = 1.0
    # Pairs of DATALOADER.SAMPLER_TRAIN PairSampler: share of positive ones in the first epoch; and by how much the
    # negative ones for a positive one are multiplied after every epoch, until they are four (1 = never; 1.01 in the
    # siamese work of Zheng et al., 2017)
    cfg.DATALOADER.PAIRS = CfgNode({"POSITIVE_SHARE": 0.5, "NEGATIVE_ANNEAL": 1.0})
    # A folder that keeps training and test images as decoded and resized, in bytes, for later epochs, evaluations and
    # runs to read: the same pixels, sooner (docs/loading.md); "" = none. A 256x128 image takes 98 KB; the folder may be
    # shared, and deleted at any time
    cfg.DATALOADER.CACHE_DIR = ""
    # Decode JPEG files by OpenCV and resize by vectorised sums where both give PIL's pixels, a batch at a time. False:
    # FastReID's transforms, image by image, if you suspect that (docs/loading.md)
    cfg.DATALOADER.FAST_PIXELS = True
    # Decode every image of every data set in use before training, and name those that can't be decoded; that they are
    # there is always checked
    cfg.DATALOADER.VERIFY_IMAGES = False
    # Training images in grey, and blurred by a Gaussian whose standard deviation in pixels is drawn from SIGMA; after
    # FastReID's colour jitter (INPUT.CJ) and before its AugMix
    cfg.INPUT.GRAYSCALE = CfgNode({"ENABLED": False, "PROB": 0.2})
    cfg.INPUT.BLUR = CfgNode({"ENABLED": False, "PROB": 0.5, "SIGMA": [0.1, 2.0]})
    # Joints of every training image, for models that train with them; in the coordinates of the image the network gets
    cfg.INPUT.JOINTS = CfgNode(
        {
            "ENABLED": False,
            # One pose file per data set of DATASETS.NAMES (fastreid-ext pose run or pose import), named from here
            # or from the folder of all data sets; "" = the labels that a data set has of its own; [] = so for all
            "FILES": [],
            # Joints that change places in a mirrored image: left and right of COCO's 17
            "FLIP_PAIRS": [list(pair) for pair in FLIP_PAIRS],
            # Give test images their joints too
            "TEST": False,
        }
    )
    # Folders with train.csv, query.csv and gallery.csv, each with the name that NAMES and TESTS have for it: [["Shop",
    # "path/to/folder"]]. A path is absolute, or starts at the folder of all data sets
    cfg.DATASETS.CSV = []
    # Test sets that are evaluated after DATASETS.TESTS if a folder of theirs is there, and else skipped with a line in
    # the log; a set that both lists name is optional
    cfg.DATASETS.TESTS_OPTIONAL = ()
    # Images of each training identity that are kept out of training and evaluated as a test set of their own,
    # named HeldOut: 2 or more; 0 = none
    cfg.DATASETS.HOLD_OUT = 0
    # Training identities that are left out of training and evaluated as a test set named Validation, to choose settings
    # by (also in DATASETS.TESTS, whose first set chooses the best checkpoint); 0 = none
    cfg.DATASETS.VALIDATION = 0
    # streamed | host. streamed ranks blocks of queries, shared among processes, in EVAL_MEMORY_MB of memory beyond the
    # features of the test set; host is FastReID's own evaluator, which holds all distances and their order at once
    cfg.TEST.EVALUATOR = "streamed"
    cfg.TEST.EVAL_MEMORY_MB = 512
    # auto | exclude | refuse | keep. What to do with a query that is in the gallery itself, under another camera or
    # person: found by path, link and content. exclude leaves it out of its own ranking, refuse stops the run, keep
    # ranks it. auto excludes it from sets of your own and keeps it in public ones, which papers rank as they are, and
    # of which only paths and links are looked at
    cfg.TEST.SAME_IMAGE = "auto"
    # market1501 | cuhk03. cuhk03 counts Rank-k, by SEED, in galleries of one image of each identity, for the classic
    # split of CUHK03
    cfg.TEST.PROTOCOL = "market1501"
    # Evaluate each test set a second time, with a rectangle of some images erased (MGRe, table 6). Where it lies
    # follows from SEED and the image's index in the test set. FILL as in INPUT.BATCH_AUGMENT.REA
    cfg.TEST.OCCLUSION = CfgNode({"ENABLED": False, "PROB": 0.5, "AREA": [0.02, 0.4], "RATIO": 0.3, "FILL": "mean"})
    cfg.TEST.OCCLUSION.SEED = 0
    # Rank-1 and mAP by groups of queries, in the log and in report_<test set>.json. The edges cut the hidden share
    # of a query where the data set knows it: 0 is not occluded, then 0 to 0.25, 0.25 to 0.35 and above. Files of
    # fastreid-ext occlusion-split, or other CSV files of path and occlusion, say it of any data set (docs/data.md):
    # [["OccludedDuke", "occlusion.csv"]]
    cfg.TEST.REPORT = CfgNode({"ENABLED": True, "OCCLUSION_EDGES": [0.0, 0.25, 0.35], "OCCLUSION_FILES": []})
    # A share of the query identities, drawn by SEED, is taken out of the gallery in a second search: how often are the
    # others found (TPIR), if one in 100 or 10 of those may be taken for somebody (FPIR); 0 = off
    cfg.TEST.OPEN_SET = CfgNode({"SHARE": 0.0, "SEED": 0})
    # Picture of the first queries' rank lists, written after each evaluation
    cfg.TEST.RANK_LIST = CfgNode({"ENABLED": True, "QUERIES": 8, "TOPK": 10})
