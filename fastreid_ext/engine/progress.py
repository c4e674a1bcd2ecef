"""The trainer's hook that shows how far training is."""

import logging

from fastreid.engine.train_loop import HookBase

from fastreid_ext.progress import ProgressBar

logger = logging.getLogger(__name__)


class Progress(HookBase):
    """Show epoch, loss, images/s and time left: a bar on a terminal, else a line of the log about every ``seconds``.

    Args:
        images_per_batch: of all ranks together.
        seconds: between two lines if the output is not a terminal.
    """

    def __init__(self, images_per_batch: int, seconds: float = 30.0):
        self.images_per_batch = images_per_batch
        self.seconds = seconds
        self.bar: ProgressBar | None = None

    def before_train(self) -> None:
        trainer = self.trainer
        self.bar = ProgressBar(
            "training",
            trainer.max_iter * self.images_per_batch,
            done=trainer.start_iter * self.images_per_batch,
            seconds=self.seconds,
            write=logger.info,
        )

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        self.bar.name = f"epoch {self.trainer.epoch + 1}/{self.trainer.max_epoch}"
        self.bar.note = f"loss {latest['total_loss'][0]:.3f}"
        self.bar.advance(self.images_per_batch)

    def after_train(self) -> None:
        if self.bar is not None:
            self.bar.close()
