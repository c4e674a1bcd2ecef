"""Cuts of clothes as data: what tells black coats apart."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """An upper garment.

    Attributes:
        hem: lowest and highest hem, in body heights above the ground.
        sleeve: reach of the sleeves: 0 none, 1 elbow, 2 wrist.
        bulk: how much wider than the body it is.
        closing: what runs down the front: "zip", "buttons" or "none".
        collar: "none", "round", "fold", "stand" or "lapel".
        hood: whether it has one.
        open_share: how often it is worn open over a shirt.
        quilted: whether it has the seams of a down jacket.
        ribbed: whether cuffs and hem are knitted bands.
        pockets: how many rows of pockets.
        patterned: how often its cloth has a pattern or a print.
    """

    hem: tuple[float, float]
    sleeve: float
    bulk: float
    closing: str
    collar: str
    hood: bool
    open_share: float
    quilted: bool
    ribbed: bool
    pockets: int
    patterned: float


CUTS = {
    "tee": Cut((0.44, 0.50), 0.62, 1.02, "none", "round", False, 0.0, False, False, 0, 0.5),
    "polo": Cut((0.44, 0.49), 0.6, 1.0, "none", "fold", False, 0.0, False, True, 0, 0.35),
    "shirt": Cut((0.42, 0.49), 1.95, 1.02, "buttons", "fold", False, 0.2, False, False, 1, 0.5),
    "blouse": Cut((0.43, 0.52), 1.5, 1.08, "none", "round", False, 0.0, False, False, 0, 0.5),
    "sweater": Cut((0.43, 0.48), 2.0, 1.1, "none", "round", False, 0.0, False, True, 0, 0.35),
    "hoodie": Cut((0.42, 0.48), 2.0, 1.12, "none", "none", True, 0.0, False, True, 1, 0.4),
    "zip_hoodie": Cut((0.42, 0.48), 2.0, 1.12, "zip", "none", True, 0.45, False, True, 1, 0.2),
    "bomber": Cut((0.46, 0.51), 2.0, 1.18, "zip", "stand", False, 0.4, False, True, 1, 0.1),
    "denim_jacket": Cut((0.46, 0.51), 2.0, 1.1, "buttons", "fold", False, 0.5, False, False, 2, 0.0),
    "blazer": Cut((0.40, 0.44), 2.0, 1.1, "buttons", "lapel", False, 0.5, False, False, 1, 0.1),
    "puffer": Cut((0.40, 0.50), 2.0, 1.32, "zip", "stand", False, 0.25, True, False, 1, 0.0),
    "hooded_puffer": Cut((0.36, 0.47), 2.0, 1.34, "zip", "stand", True, 0.2, True, False, 1, 0.0),
    "parka": Cut((0.30, 0.38), 2.0, 1.24, "zip", "stand", True, 0.3, False, False, 2, 0.0),
    "rain_coat": Cut((0.30, 0.40), 2.0, 1.16, "zip", "none", True, 0.15, False, False, 1, 0.0),
    "overcoat": Cut((0.22, 0.32), 2.0, 1.2, "buttons", "lapel", False, 0.4, False, False, 1, 0.15),
    "long_coat": Cut((0.14, 0.24), 2.0, 1.2, "buttons", "lapel", False, 0.3, False, False, 1, 0.05),
    "vest": Cut((0.43, 0.49), 2.0, 1.16, "zip", "stand", False, 0.5, True, False, 1, 0.0),
    "dress": Cut((0.20, 0.34), 0.5, 1.02, "none", "round", False, 0.0, False, False, 0, 0.5),
    "long_dress": Cut((0.08, 0.20), 1.9, 1.06, "none", "round", False, 0.0, False, False, 0, 0.4),
}

# Radii of thigh, knee and ankle, as factors of the leg's.
LEG_CUTS = {"skinny": (1.04, 1.06, 1.15), "straight": (1.08, 1.25, 1.65), "wide": (1.14, 1.5, 2.5),
            "tapered": (1.14, 1.3, 1.3)}  # fmt: skip

LOWERS = ("jeans", "trousers", "sport", "cargo", "shorts", "skirt", "leggings")
LOWER_REACH = {"jeans": 1.95, "trousers": 1.96, "sport": 1.94, "cargo": 1.94, "shorts": 0.85, "leggings": 1.9,
               "skirt": 0.0}  # fmt: skip

HAIR = ("bald", "cropped", "short", "short", "side", "bob", "long", "long", "bun", "ponytail", "afro")
HEADGEAR = ("cap", "beanie", "headscarf", "bucket_hat")
SHOES = ("sneaker", "sneaker", "sneaker", "leather", "boot", "high_boot")
BAGS = ("backpack", "crossbody", "tote", "handbag", "shopping_bag", "suitcase")
HELD = ("phone", "paper", "cup")
PATTERNS = ("stripes", "thin_stripes", "plaid", "print", "print", "panel", "yoke", "dots", "columns")
