"""The papers' claims as questions to SynthReID, the most valuable first: what is trained, and what is compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HOLISTIC, OCCLUDED, HELD_OUT = "SynthReID", "SynthReIDOccluded", "HeldOut"
MAP, KEPT = "mAP", "share of mAP kept under erasing"
THREE, FIVE = (0, 1, 2), (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Arm:
    """What is trained, and tested.

    Attributes:
        config: a shipped config.
        overrides: KEY VALUE pairs.
        trunk: a row of TRUNKS whose weights it starts from; "" = random numbers.
        tested_with: KEY VALUE pairs under which the weights of the same arm without them are tested; none is trained.
        seeds: of its runs.
    """

    config: str
    overrides: tuple[str, ...] = ()
    trunk: str = ""
    tested_with: tuple[str, ...] = ()
    seeds: tuple[int, ...] = THREE


@dataclass(frozen=True)
class Claim:
    """That one arm is ahead of another.

    Attributes:
        says: the claim in a sentence.
        ahead, of: names of arms.
        measure: MAP or KEPT.
        test_set: whose queries count.
        group: how the label of a group of queries begins, where these alone count.
        ours: it is a question of ours and no claim of the paper.
    """

    says: str
    ahead: str
    of: str
    measure: str = MAP
    test_set: str = HOLISTIC
    group: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Question:
    """Arms that are trained with one recipe, and the claims about them; ``note`` says what is not asked, and why."""

    name: str
    title: str
    paper: str
    arms: Mapping[str, Arm]
    claims: Sequence[Claim]
    note: str = ""


@dataclass(frozen=True)
class Trunk:
    """A training on the people of another SynthReID, in the place of the paper's ImageNet weights."""

    config: str
    overrides: tuple[str, ...] = field(default=())


def keys(**settings: object) -> tuple[str, ...]:
    """Return KEY VALUE pairs; "__" stands for a dot."""
    return tuple(str(item) for key, value in settings.items() for item in (key.replace("__", "."), value))


NONE = "MSReID/ablation/SynthReID_none.yml"
SPLITS = keys(
    MODEL__BACKBONE__NAME="build_res2net_backbone", MODEL__BACKBONE__DEPTH="26x", MODEL__BACKBONE__WITH_IBN=False
)
PLAIN = (*SPLITS, *keys(MODEL__BACKBONE__RES2NET__SCALE=1, MODEL__BACKBONE__RES2NET__WIDTH=64))
TRUNKS = {
    "msreid": Trunk(NONE, keys(SOLVER__MAX_EPOCH=16, SOLVER__WARMUP_EPOCHS=3)),
    "res2net": Trunk(NONE, (*SPLITS, *keys(SOLVER__MAX_EPOCH=16, SOLVER__WARMUP_EPOCHS=3))),
    # Longer: after 16 epochs it was 6 points of Rank-1 behind (res2net_tables.json).
    "resnet": Trunk(NONE, (*PLAIN, *keys(SOLVER__MAX_EPOCH=24, SOLVER__WARMUP_EPOCHS=3))),
}

MGRE = "MGRe/ablation/SynthReID_{}.yml"
SHARES = keys(MODEL__MGRE__LOCATION__UNITS="shares", MODEL__MGRE__LOCATION__WEIGHT=1000.0)
LONG = keys(SOLVER__MAX_EPOCH=30, SOLVER__WARMUP_EPOCHS=3)
FIGURE_5 = {name: Arm(f"MSReID/ablation/SynthReID_{name}.yml", LONG, "msreid") for name in ("none", "LM", "ALM")}
TABLE_5 = "OccludedReID/ablation/SynthReID_{}.yml"
BED = keys(MODEL__LOSSES__NAME=("SmoothedCrossEntropyLoss", "BoundedExponentialDistanceLoss"))
TRIPLETS = keys(MODEL__LOSSES__NAME=("SmoothedCrossEntropyLoss", "SoftMarginTripletLoss"))
HELD = keys(DATASETS__HOLD_OUT=2)
DEEP = "demo/deepminer.yml"


def ie(*blocks: int, **more: object) -> Arm:
    """Return Deep Miner with input-erased branches after blocks alone."""
    alone = {"MODEL__DEEPMINER__LOCAL_STRIPES": 0, "MODEL__DEEPMINER__ATTENTION_BLOCKS": []}
    return Arm(DEEP, keys(MODEL__DEEPMINER__IE_BLOCKS=list(blocks), **{**alone, **more}))


TAUS = {tau: f"IE after 3, tau {tau}" for tau in (0.5, 0.6, 0.7, 0.9, 0.95)}
PAIRS = "Res2NetMultiTask/ablation/SynthReID_{}.yml"
PAIRS_LONG = keys(SOLVER__MAX_EPOCH=40, SOLVER__WARMUP_EPOCHS=3)
CBE = keys(INPUT__REA__ENABLED=False, INPUT__BATCH_AUGMENT__NAME=["CompoundBatchErasing"])

QUESTIONS = (
    Question(
        "mgre",
        "MGRe, table 4 and table 6",
        "Yang et al., Neurocomputing 2021",
        {
            "baseline": Arm(MGRE.format("baseline")),
            "+ 1": Arm(MGRE.format("s1")),
            "+ 2": Arm(MGRE.format("s2")),
            "+ 3": Arm(MGRE.format("s3")),
            "+ 2 + 3": Arm(MGRE.format("s23")),
            "MGRe": Arm(MGRE.format("s123")),
            "MGRe, errors in shares": Arm(MGRE.format("s123"), SHARES),
        },
        (
            Claim("MGRe is ahead of the baseline", "MGRe", "baseline"),
            Claim(
                "MGRe with location errors in shares of the image is ahead of it too",
                "MGRe, errors in shares",
                "baseline",
            ),
            Claim("regions of stage 1 help", "+ 1", "baseline"),
            Claim("regions of stage 2 help", "+ 2", "baseline"),
            Claim("regions of stage 3 help", "+ 3", "baseline"),
            Claim("stages 2 and 3 help more than 2 alone", "+ 2 + 3", "+ 2"),
            Claim("all three help more than 2 and 3", "MGRe", "+ 2 + 3"),
            Claim("MGRe keeps more of its mAP under erasing than the baseline", "MGRe", "baseline", KEPT),
            Claim("MGRe with errors in shares keeps more of it too", "MGRe, errors in shares", "baseline", KEPT),
            Claim("errors in pixels are better than in shares", "MGRe", "MGRe, errors in shares", ours=True),
        ),
        "The baseline's feature is as long as MGRe's. The other methods of table 6 are not in this package.",
    ),
    Question(
        "msreid",
        "MSReID, figure 5",
        "Kim and Kim",
        FIGURE_5,
        (
            Claim("attention, local branch and mask together help", "ALM", "none"),
            Claim("attention adds to local branch and mask", "ALM", "LM"),
            Claim("local branch and mask help without attention", "LM", "none"),
        ),
        "30 epochs from a trained trunk, with the authors' initialisation of the parts.",
    ),
    Question(
        "occluded",
        "Occluded ReID, table 5: CBE, BED and the two heads apart",
        "Yan et al., ICCV 2021",
        {
            "baseline": Arm(TABLE_5.format("baseline")),
            "+ CBE": Arm(TABLE_5.format("cbe")),
            "+ CBE + BED": Arm(TABLE_5.format("cbe"), BED),
            "+ CBE + two heads": Arm(TABLE_5.format("bed"), TRIPLETS),
            "+ CBE + BED + two heads": Arm(TABLE_5.format("bed")),
        },
        (
            Claim("CBE helps", "+ CBE", "baseline", test_set=OCCLUDED),
            Claim("CBE makes the model keep more of its mAP under erasing", "+ CBE", "baseline", KEPT),
            Claim("the loss of eq. 5 helps", "+ CBE + BED + two heads", "+ CBE", test_set=OCCLUDED),
            Claim("BED alone helps", "+ CBE + BED", "+ CBE", test_set=OCCLUDED, ours=True),
            Claim("two heads alone help", "+ CBE + two heads", "+ CBE", test_set=OCCLUDED, ours=True),
            Claim("two heads help more than BED", "+ CBE + two heads", "+ CBE + BED", test_set=OCCLUDED, ours=True),
        ),
        "Today's code has the cited law of random erasing alone. The other one is that of commit cb8cf37543a9, whose"
        " runs (occluded_ladder.json) have no number for each query: the two laws are not compared here.",
    ),
    Question(
        "elimination",
        "Occluded ReID: momentum elimination by the number of training images",
        "Yan et al., ICCV 2021",
        {
            "with": Arm("demo/occluded.yml", HELD),
            "without": Arm("demo/occluded.yml", HELD, tested_with=keys(MODEL__OCCLUDED__ME__ENABLED=False)),
        },
        tuple(
            Claim(
                f"momentum elimination helps identities of the {group}",
                "with",
                "without",
                test_set=HELD_OUT,
                group=group,
            )
            for group in ("tail", "middle", "head")
        ),
        "Two images of every training identity are held out and searched among all of them.",
    ),
    Question(
        "deepminer",
        "Deep Miner, tables 1 to 4 and figure 7",
        "Benzine et al., 2021",
        {
            "Baseline": Arm("demo/baseline.yml", seeds=FIVE),
            "Deep Miner": Arm(DEEP, seeds=FIVE),
            "global branch": ie(),
            "IE after 1": ie(1),
            "IE after 2": ie(2),
            "IE after 3": ie(3),
            "IE after 2, 3": ie(2, 3),
            "IE after 2, 3, local": Arm(DEEP, keys(MODEL__DEEPMINER__ATTENTION_BLOCKS=[])),
            "SAM alone": Arm(DEEP, keys(MODEL__DEEPMINER__CHAM__ENABLED=False)),
            "CHAM alone": Arm(DEEP, keys(MODEL__DEEPMINER__SAM__ENABLED=False)),
            **{name: ie(3, MODEL__DEEPMINER__ERASE_THRESHOLD=tau) for tau, name in TAUS.items()},
        },
        (
            Claim("Deep Miner is ahead of FastReID's Baseline", "Deep Miner", "Baseline"),
            Claim("Deep Miner is ahead on occluded queries too", "Deep Miner", "Baseline", test_set=OCCLUDED),
            *(Claim(f"an IE branch after block {n} helps", f"IE after {n}", "global branch") for n in (1, 2, 3)),
            Claim("two IE branches help more than one", "IE after 2, 3", "IE after 3"),
            Claim("the local branch helps", "IE after 2, 3, local", "IE after 2, 3"),
            Claim("SAM helps", "SAM alone", "IE after 2, 3, local"),
            Claim("CHAM helps", "CHAM alone", "IE after 2, 3, local"),
            Claim("SAM and CHAM help more than SAM", "Deep Miner", "SAM alone"),
            *(Claim(f"a tau of 0.8 is better than {tau}", "IE after 3", name) for tau, name in TAUS.items()),
        ),
    ),
    Question(
        "res2net",
        "Improved Res2Net, tables 2 and 3",
        "Cao and Lee",
        {
            **{f"Res2Net, {p / 10}": Arm(PAIRS.format(f"er{p:02d}"), PAIRS_LONG, "res2net") for p in (0, 4, 8)},
            "Res2Net, 0.5": Arm(PAIRS.format("er05"), PAIRS_LONG, "res2net"),
            "ResNet, 0.5": Arm(PAIRS.format("resnet"), PAIRS_LONG, "resnet"),
        },
        (
            Claim("erasing with a probability of 0.4 is better than none", "Res2Net, 0.4", "Res2Net, 0.0"),
            Claim("a probability of 0.4 is better than 0.8", "Res2Net, 0.4", "Res2Net, 0.8"),
            Claim("a Res2Net is ahead of a ResNet", "Res2Net, 0.5", "ResNet, 0.5"),
        ),
        "The trunks' own results are below: the last claim means something only as far as the two are equally good.",
    ),
    Question(
        "composition",
        "BED and CBE on Deep Miner and MGRe, which no paper has",
        "ours",
        {
            "Deep Miner": Arm(DEEP, seeds=FIVE),
            "Deep Miner + CBE": Arm(DEEP, CBE),
            "Deep Miner + BED": Arm(DEEP, (*BED[:-1], f"{BED[-1][:-1]}, 'CenterLoss')")),
            "MGRe": Arm(MGRE.format("s123")),
            "MGRe + CBE": Arm(MGRE.format("s123"), CBE),
            "MGRe + BED": Arm(MGRE.format("s123"), BED),
        },
        tuple(
            Claim(f"{part} helps {name} on {kind} queries", f"{name} + {part}", name, test_set=test_set, ours=True)
            for name in ("Deep Miner", "MGRe")
            for part in ("CBE", "BED")
            for kind, test_set in (("holistic", HOLISTIC), ("occluded", OCCLUDED))
        ),
        "CBE doubles the batch, so a step sees each image twice.",
    ),
)
