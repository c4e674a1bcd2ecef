"""A progress bar where a person watches; plain lines otherwise."""

import logging
import sys

from fastreid.engine.train_loop import HookBase
from tqdm import tqdm

logger = logging.getLogger(__name__)


class Progress(HookBase):
    """Shows epoch, loss, images/s and time left: a bar on a terminal, else a line about every ``seconds``.

    Args:
        images_per_batch: of all ranks together.
        seconds: between two lines where no person watches.
    """

    def __init__(self, images_per_batch: int, seconds: float = 30.0):
        self.images_per_batch = images_per_batch
        self.seconds = seconds

    def before_train(self) -> None:
        trainer = self.trainer
        watched = sys.stderr.isatty()
        self.bar = tqdm(
            total=trainer.max_iter * self.images_per_batch,
            initial=trainer.start_iter * self.images_per_batch,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=0.1 if watched else self.seconds,
            file=sys.stderr if watched else _Lines(),
            bar_format=None if watched else "{desc} {percentage:3.0f}%, {rate_fmt}, {remaining} left{postfix}",
        )

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        self.bar.set_description_str(f"epoch {self.trainer.epoch + 1}/{self.trainer.max_epoch}", refresh=False)
        self.bar.set_postfix_str(f"loss {latest['total_loss'][0]:.3f}", refresh=False)
        self.bar.update(self.images_per_batch)

    def after_train(self) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


class _Lines:
    """A text stream that hands each line to the log."""

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            logger.info(line)

    def flush(self) -> None:
        """Nothing is held back."""
