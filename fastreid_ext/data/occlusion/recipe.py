"""OPReID's split, drawn from the occluded and holistic images of another data set.

Reference: Yan et al., Occluded Person Re-Identification with Single-scale Global Representations, ICCV 2021, section 4:
4,200 queries of 3,515 identities; of each of these identities one occluded and one holistic image in the gallery; of
the other identities 1 to 3 occluded and 1 to 3 holistic images; 1,744 identities for training, 5 to 20 images each,
around 15 % of them occluded; no identity in both.

The paper leaves open, and here is: a query is occluded (it is an occluded benchmark). The gallery's two images are by
other cameras than the query, where cameras are known, since those by the query's camera are not ranked. Of 4,200 /
3,515 queries an identity, the second one is drawn for every fifth identity. The paper's counts do not follow from its
rule, by which the gallery could have 24,354 images at most (two a query, six of each other identity), and not 41,014:
the rule is followed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastreid_ext.data.occlusion.photos import Photo
from fastreid_ext.data.own_images.splitting import digest
from fastreid_ext.errors import ConfigError

TRAIN_SHARE, QUERY_SHARE = 1744 / 7918, 3515 / 6174  # of all identities; of those that are tested
SECOND_QUERY = 4200 / 3515 - 1
TRAIN_IMAGES, GALLERY_IMAGES = (5, 20), (1, 3)
OCCLUDED_SHARE = 0.15
FEW, MANY = "of a training person with too few images", "of a training person, beyond its images or the occluded share"
NOT_ASKED, NOT_OTHER = "of a query's person, not drawn", "of another test person, not drawn"
TRAINED = "a test image of a person who is trained on"


@dataclass(frozen=True)
class Recipe:
    """What is drawn.

    Attributes:
        train_share: share of the persons that are trained on; None keeps the set's own, if it has both.
        query_share: share of the tested persons that are searched for.
        occluded_share: of the training images.
        train_images: least and most images of a training person.
        cameras: whether they are used.
        seed: of all draws.
    """

    train_share: float | None = None
    query_share: float = QUERY_SHARE
    occluded_share: float = OCCLUDED_SHARE
    train_images: tuple[int, int] = TRAIN_IMAGES
    cameras: bool = True
    seed: int = 0


@dataclass
class Drawn:
    """The three subsets, with what was left out by reason, and the rules that were followed."""

    train: list[Photo] = field(default_factory=list)
    query: list[Photo] = field(default_factory=list)
    gallery: list[Photo] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def of(self, name: str) -> list[Photo]:
        """Return a subset by its name."""
        return getattr(self, name)


def draw(photos: Sequence[Photo], recipe: Recipe) -> Drawn:
    """Draw training, queries and gallery; the same photos in any order and the same seed give the same.

    Raises:
        ConfigError: nobody can be a query.
    """
    drawn = Drawn()
    by_person: dict[str, list[Photo]] = defaultdict(list)
    for photo in sorted(photos, key=lambda photo: digest(photo.row, recipe.seed)):
        by_person[photo.entry.person].append(photo)
    people = sorted(by_person, key=lambda person: digest(person, recipe.seed))
    trained = _trained(by_person, people, recipe, drawn)
    _draw_training({person: by_person[person] for person in people if person in trained}, recipe, drawn)
    _draw_test({person: by_person[person] for person in people if person not in trained}, recipe, drawn)
    for name in ("train", "query", "gallery"):
        drawn.of(name).sort(key=lambda photo: photo.entry.name)
    return drawn


def _trained(by_person: dict[str, list[Photo]], people: Sequence[str], recipe: Recipe, drawn: Drawn) -> set[str]:
    own = {person for person in people if any(photo.entry.split == "train" for photo in by_person[person])}
    if recipe.train_share is None and own and len(own) < len(people):
        drawn.said.append(f"the {len(own)} training persons of the data set are trained on, the others tested")
        for person in own:
            for photo in by_person[person]:
                if photo.entry.split != "train":
                    drawn.left_out[TRAINED].append(photo.entry.name)
            by_person[person] = [photo for photo in by_person[person] if photo.entry.split == "train"]
        return own
    share = TRAIN_SHARE if recipe.train_share is None else recipe.train_share
    count = round(share * len(people))
    drawn.said.append(f"{count} of {len(people)} persons are trained on, the others tested: drawn, seed {recipe.seed}")
    return set(people[:count])


def _draw_training(by_person: Mapping[str, list[Photo]], recipe: Recipe, drawn: Drawn) -> None:
    """Give each person its holistic images, and the occluded ones that the share allows for all so far."""
    least, most = recipe.train_images
    for_one = recipe.occluded_share / (1 - recipe.occluded_share)  # occluded images for a holistic one
    owed = 0.0
    taken: dict[str, tuple[int, int]] = {}  # person -> holistic, occluded
    for person, photos in by_person.items():
        occluded, holistic = _kinds(photos)
        whole = min(len(holistic), most)
        hidden = max(0, min(round(owed + whole * for_one), len(occluded), most))
        whole = min(whole, most - hidden)
        if whole + hidden < least:
            drawn.left_out[FEW] += [photo.entry.name for photo in photos]
            continue
        owed += whole * for_one - hidden
        taken[person] = whole, hidden
    # What others lacked is added to those with room for it, and then takes the place of holistic images.
    for swaps in (False, True):
        for person, (whole, hidden) in taken.items():
            free = len(_kinds(by_person[person])[0]) - hidden
            wanted = round(owed / (1 + for_one)) if swaps else round(owed)
            more = max(0, min(wanted, free, whole if swaps else most - whole - hidden))
            taken[person] = whole - more * swaps, hidden + more
            owed -= more * (1 + for_one * swaps)
    unused = 0
    for person, (whole, hidden) in taken.items():
        occluded, holistic = _kinds(by_person[person])
        unused += len(occluded) - hidden
        drawn.train += holistic[:whole] + occluded[:hidden]
        drawn.left_out[MANY] += [photo.entry.name for photo in holistic[whole:] + occluded[hidden:]]
    if drawn.train:
        share = sum(photo.occluded for photo in drawn.train) / len(drawn.train)
        wanted = f"{recipe.occluded_share:.0%}"
        few = f" (fewer than {wanted} are there)" if share < recipe.occluded_share - 0.01 and not unused else ""
        drawn.said.append(
            f"{least} to {most} images of each training person, around {wanted} of all occluded: {share:.1%} are{few}"
        )


def _draw_test(by_person: Mapping[str, list[Photo]], recipe: Recipe, drawn: Drawn) -> None:
    wanted = max(1, round(recipe.query_share * len(by_person)))
    asked: set[str] = set()
    for person, photos in by_person.items():
        found = _asked(photos, recipe, person) if len(asked) < wanted else None
        if found is not None:
            asked.add(person)
            queries, answers = found
            drawn.query += queries
            drawn.gallery += answers
            drawn.left_out[NOT_ASKED] += [p.entry.name for p in photos if p not in queries and p not in answers]
    if not asked:
        other = " under other cameras than that" if recipe.cameras else ""
        raise ConfigError(
            f"none of the {len(by_person)} tested persons has an occluded image for a query, and another occluded and a"
            f" holistic one for the gallery{other}: look at --confidence and --sequential"
            + (", lower --train-share, or use --no-cameras" if recipe.cameras else ", or lower --train-share")
        )
    low, high = GALLERY_IMAGES
    one_kind = 0
    for person, photos in by_person.items():
        if person in asked:
            continue
        chosen = []
        for kind, images in zip(("occluded", "holistic"), _kinds(photos), strict=True):
            count = low + int(digest(f"{person} {kind}", recipe.seed), 16) % (high - low + 1)
            chosen += images[:count]
            drawn.left_out[NOT_OTHER] += [photo.entry.name for photo in images[count:]]
        one_kind += len({photo.occluded for photo in chosen}) < 2
        drawn.gallery += chosen
    where = ", by other cameras than the query" if recipe.cameras else ""
    drawn.said.append(
        f"{len(asked)} of {len(by_person)} tested persons are queries, by one or two occluded images, with one occluded"
        f" and one holistic image in the gallery{where}"
    )
    if len(asked) < wanted:
        drawn.said.append(f"{wanted} persons were to be queries, but the others lack such images")
    drawn.said.append(
        f"of the other tested persons {low} to {high} occluded and {low} to {high} holistic images are in the gallery;"
        f" {one_kind} of them have images of one kind alone"
    )


def _kinds(photos: Sequence[Photo]) -> tuple[list[Photo], list[Photo]]:
    """Return occluded and holistic photos, in their order."""
    return [photo for photo in photos if photo.occluded], [photo for photo in photos if not photo.occluded]


def _asked(photos: Sequence[Photo], recipe: Recipe, person: str) -> tuple[list[Photo], list[Photo]] | None:
    """Return a person's queries, and its occluded and its holistic image in the gallery; None if it lacks them."""
    occluded, holistic = _kinds(photos)

    def sees(query: Photo, image: Photo) -> bool:
        return image is not query and not (recipe.cameras and image.entry.camera == query.entry.camera)

    for query in occluded:
        answers = [next((i for i in images if sees(query, i)), None) for images in (occluded, holistic)]
        if None in answers:
            continue
        queries = [query]
        if int(digest(f"{person} second", recipe.seed), 16) % 1000 < 1000 * SECOND_QUERY:
            others = (i for i in occluded if i is not query and all(sees(i, answer) for answer in answers))
            queries += [next(others, None)]
        return [q for q in queries if q is not None], answers
    return None
