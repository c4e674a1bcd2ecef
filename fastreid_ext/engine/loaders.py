"""The loaders that a config names."""

from fastreid.config import CfgNode
from fastreid.data import samplers
from fastreid.data.transforms import build_transforms
from fastreid.utils import comm

from fastreid_ext.data.batches import EpochBatches
from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.data.loader import DeviceLoader, build_test_loader, build_train_loader
from fastreid_ext.engine.checks import check_training_set
from fastreid_ext.engine.devices import device_of
from fastreid_ext.engine.seeding import resolve_seed
from fastreid_ext.modeling.augmentation_table import sampled_per_batch

TEST_PARTS = ("query", "gallery")


def train_loader(cfg: CfgNode) -> DeviceLoader:
    """Return the endless loader of DATASETS.NAMES; its batches follow from cfg.SEED and the epoch.

    Raises:
        DataSetError, ConfigError: a data set that is missing or can't fill a batch.
    """
    items = []
    for name in cfg.DATASETS.NAMES:
        dataset = load_dataset(name, ("train",), combineall=cfg.DATASETS.COMBINEALL)
        if comm.is_main_process():
            dataset.show_train()
        items.extend(sorted(dataset.train))
    world = comm.get_world_size()
    check_training_set(cfg, items, world)
    sampled = sampled_per_batch(cfg)
    batches = EpochBatches(
        items,
        cfg.DATALOADER.SAMPLER_TRAIN,
        batch_size=sampled // world,
        num_instances=cfg.DATALOADER.NUM_INSTANCE,
        iters_per_epoch=len(items) // sampled,
        seed=resolve_seed(cfg.SEED),
        rank=comm.get_rank(),
    )
    images = ReIDImages(items, build_transforms(cfg, is_train=True), relabel=True)
    return build_train_loader(images, batches, cfg.DATALOADER.NUM_WORKERS, device_of(cfg))


def eval_loader(cfg: CfgNode, dataset_name: str) -> tuple[DeviceLoader, int]:
    """Return the loader of a test set's queries and gallery, and the number of queries.

    Raises:
        DataSetError: a data set that is missing.
    """
    dataset = load_dataset(dataset_name, TEST_PARTS)
    if comm.is_main_process():
        dataset.show_test()
    query, gallery = sorted(dataset.query), sorted(dataset.gallery)
    images = ReIDImages(query + gallery, build_transforms(cfg, is_train=False), relabel=False)
    batch_size = max(cfg.TEST.IMS_PER_BATCH // comm.get_world_size(), 1)
    loader = build_test_loader(
        images, samplers.InferenceSampler(len(images)), batch_size, cfg.DATALOADER.NUM_WORKERS, device_of(cfg)
    )
    return loader, len(query)
