"""Checkpoints that survive a kill at any moment, and loading that is never silent."""

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.utils.checkpoint import Checkpointer
from torch import nn

from fastreid_ext.compat.checkpoint import with_present_names
from fastreid_ext.engine.run_state import faults_of
from fastreid_ext.engine.trained_on import other_persons
from fastreid_ext.engine.weight_average import WeightAverage
from fastreid_ext.errors import UserError, first_line, is_ours
from fastreid_ext.files import read_text, write_atomically, write_text
from fastreid_ext.foreign_files import is_below, shown
from fastreid_ext.modeling.capabilities import HasTrainingOnly
from fastreid_ext.modeling.file_kinds import what_it_is
from fastreid_ext.modeling.pretrained import CLASSIFIER
from fastreid_ext.modeling.renamed import renamed_state
from fastreid_ext.modeling.safetensors_files import SafetensorsError, begins_as_safetensors, read_safetensors
from fastreid_ext.modeling.token_trunk import on_own_grids
from fastreid_ext.modeling.weight_files import check_weights_file
from fastreid_ext.modeling.weights import no_floats, not_finite

# What FastReID's pooling of a learnt exponent has, and what to do where the model's is fixed.
EXPONENT, LEARNT = "pool_layer.p", " (learnt; MODEL.HEADS.POOL_LAYER GeneralizedMeanPoolingP reads it)"
# The neck of a head, by FastReID's name and its earlier one, that the model has no place for: this head is another one.
NECK = r"(heads|b\d+_head)\.(bottleneck|bnneck)\."


class CheckpointError(UserError):
    """A checkpoint that is missing, unreadable or of another model."""


class AtomicCheckpointer(Checkpointer):
    """FastReID's checkpointer with files that are either whole or absent, and a count of what did not load.

    Attributes:
        training: what the run is trained on (:mod:`fastreid_ext.engine.trained_on`); {} = not known.
        epochs: how many the run has; one that ended is taken up from weights alone, to be evaluated. None = not known.
        average: of the run's weights, which is what is saved as the model; None = the weights themselves.
    """

    training: dict[str, int | str] = {}
    epochs: int | None = None
    average: WeightAverage | None = None
    _resumed: str | None = None  # the file that a run is being continued from
    _complete = _partial = False

    def save(self, name: str, *, last: bool = True, states: bool = True, **extra: Any) -> None:
        """Write <name>.pth under a temporary name, flush it, rename it, then point last_checkpoint at it if it is the
        one to resume from.

        Args:
            name: of the file.
            last: it is the one to resume from.
            states: with optimiser, schedules and scaler, which only a run that goes on needs.
            extra: what else it holds.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        states = {name: state.state_dict() for name, state in self.checkpointables.items()} if states else {}
        weights = self.average.averaged(self.model) if self.average else self.model.state_dict()
        data = {"model": weights, **states, **extra}
        folder = Path(self.save_dir)
        write_atomically(folder / f"{name}.pth", lambda file: torch.save(data, file))
        if last:
            self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        write_text(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def load(
        self, path: str, checkpointables: list[str] | None = None, complete: bool = False, partial: bool = False
    ) -> dict[str, Any]:
        """Load a checkpoint whole, but for weights of training alone, and log what was not in it.

        Args:
            path: file; empty = nothing to load.
            checkpointables: names of the further states to load; None = all.
            complete: for an evaluation, which weights of training alone do not matter to, whatever they hold.
            partial: load what fits the model, and only log the rest (MODEL.WEIGHTS_PARTIAL).

        Raises:
            CheckpointError: no such file, not a checkpoint, values that are not finite, no key in common with the
                model, or weights that the model needs and that are not in it, or a trunk of further parts.
        """
        if path and "://" not in path and not os.path.isfile(path):
            what = what_it_is(path)
            raise CheckpointError(
                f"MODEL.WEIGHTS {path} {what}" if what else f"there is no checkpoint {path}: check MODEL.WEIGHTS"
            )
        self._complete, self._partial = complete, partial
        return super().load(path, checkpointables)

    def resume_or_load(self, path: str, *, resume: bool = True, partial: bool = False) -> dict[str, Any]:
        """Load what last_checkpoint names, with all states, if resume is set and it exists; else the weights of path.

        Raises:
            CheckpointError: as :meth:`load`, or a checkpoint without the state of a run, or with that of another run.
        """
        if not (resume and self.has_checkpoint()):
            return self.load(path, checkpointables=[], partial=partial)
        named = read_text(Path(self.save_dir) / "last_checkpoint").strip()
        if not is_below(named) or Path(named).name != named:
            raise CheckpointError(
                f"{self.save_dir}/last_checkpoint names {shown(named)}, which is not a file of that folder: name a"
                " checkpoint of another folder in MODEL.WEIGHTS"
            )
        last = os.path.join(self.save_dir, named)
        if not os.path.isfile(last):
            raise CheckpointError(f"there is no checkpoint {last}, although the file last_checkpoint names it")
        self._resumed = last
        try:
            return self.load(last)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, UserError) or is_ours(error):
                raise
            # an optimiser or scaler of other settings
            raise CheckpointError(f"{last} can't be resumed by this config: {first_line(error)}") from error
        finally:
            self._resumed = None

    def _load_file(self, f: str) -> dict[str, Any]:
        self._file = f
        try:
            if begins_as_safetensors(f):
                checkpoint: Any = {"model": read_safetensors(f)[0]}
            else:
                check_weights_file(f)
                checkpoint = super()._load_file(f)
        except SafetensorsError as error:
            raise CheckpointError(str(error)) from error
        except Exception as error:  # torch raises half a dozen exception types for invalid files
            what = what_it_is(f)
            why = f": it {what}" if what else f" ({first_line(error)})"
            raise CheckpointError(f"{f} is not a checkpoint that can be read safely{why}") from error
        # A bare state dict, as torchvision and many papers publish it, is a model without further states.
        if _is_state_dict(checkpoint):
            checkpoint = {"model": checkpoint}
        if not isinstance(checkpoint, dict) or not _is_state_dict(checkpoint.get("model")):
            others = (
                [key for key, value in checkpoint.items() if _is_state_dict(value)]
                if isinstance(checkpoint, dict)
                else []
            )
            hint = f"; it has one at {shown(others[0])}: save that one alone" if others else ""
            raise CheckpointError(
                f"{f} holds no weights: expected a state dict, or a dict with one at the key 'model'{hint}"
            )
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if self._resumed is not None:  # before anything of it is loaded
            faults = other_persons(checkpoint.get("training"), self.training)
            faults = faults or faults_of(checkpoint, {} if self._is_ended(checkpoint) else self.checkpointables)
            if faults:
                alone = not self.checkpointables.keys() & checkpoint.keys()
                hint = ": weights alone are loaded with MODEL.WEIGHTS" if alone else ""
                raise CheckpointError(f"{self._resumed} can't be resumed: {'; '.join(faults)}{hint}")
        checkpoint["model"], count = renamed_state(checkpoint["model"], self.model)
        checkpoint["model"] = with_present_names(checkpoint["model"], self.model.state_dict())
        if count:
            logging.getLogger(__name__).info(
                "%d of the checkpoint's %d weights and buffers had an earlier name and were renamed",
                count,
                len(checkpoint["model"]),
            )
        if self._resumed is None:  # of a run with another size of images
            checkpoint["model"] = on_own_grids(self.model, checkpoint["model"])
        unread = training_only_keys(self.model) if self._complete else set()
        loaded = {key: checkpoint["model"][key] for key in self.model.state_dict() if key in checkpoint["model"]}
        odd = [key for key in no_floats(loaded, self.model.state_dict()) if key not in unread]
        if odd:
            raise CheckpointError(
                f"{self._file} has whole numbers, or other values that are no floats, in {len(odd)} of its"
                f" {len(loaded)} weights and buffers, such as {odd[:3]}: name one that is not quantised"
            )
        broken = [key for key in not_finite(loaded) if key not in unread]
        if broken:
            raise CheckpointError(
                f"{self._file} has values that are NaN or infinite in {len(broken)} of its {len(loaded)} weights and"
                f" buffers, such as {broken[:3]}: its training diverged, so name an earlier checkpoint"
            )
        return super()._load_model(checkpoint)

    def _is_ended(self, checkpoint: dict[str, Any]) -> bool:
        """Whether a checkpoint is the weights of a run's last epoch, which leaves nothing to train."""
        epoch = checkpoint.get("epoch")
        last = self.epochs is not None and type(epoch) is int and epoch + 1 >= self.epochs
        return last and not self.checkpointables.keys() & checkpoint.keys()

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        # torch does not need the batch norms' counters: it starts them at 0.
        own = {key for key in self.model.state_dict() if not key.endswith(".num_batches_tracked")}
        misshaped = [key for key, _, _ in incompatible.incorrect_shapes]
        missing, unexpected = sorted(own.intersection(incompatible.missing_keys)), sorted(incompatible.unexpected_keys)
        loaded = len(own) - len(missing)
        logger = logging.getLogger(__name__)
        logger.info("loaded %d of the model's %d weights and buffers", loaded, len(own))
        if self._resumed is None:
            unneeded = [key for key in missing if key in training_only_keys(self.model)]
            missing, misshaped = ([key for key in keys if key not in unneeded] for keys in (missing, misshaped))
            if unneeded:
                logger.info(
                    "not loaded: %d weights of training alone, which no test feature reads%s",
                    len(unneeded),
                    "" if self._complete else "".join(f"\n  {key}" for key in unneeded),
                )
        if missing or unexpected:
            logger.warning(
                "%d missing, %d of them of another shape; %d unexpected%s%s",
                len(missing),
                len(misshaped),
                len(unexpected),
                "".join(f"\n  missing     {key}" for key in missing),
                "".join(f"\n  unexpected  {key}{LEARNT if key.endswith(EXPONENT) else ''}" for key in unexpected),
            )
        if not loaded:
            raise CheckpointError(
                f"{self._file} has none of the model's weights: it holds {unexpected[:3]}, ... and the model"
                f" {sorted(own)[:3]}, ..."
            )
        further = [key for key in unexpected if is_of_trunk(key, self.model) or re.match(NECK, key)]
        if self._resumed is not None and missing:
            raise CheckpointError(
                f"{self._resumed} can't be resumed: {len(missing)} weights are not in it or of another shape, such as"
                f" {missing[:3]}"
            )
        if self._complete and missing:
            raise CheckpointError(
                f"{len(missing)} weights that the test feature needs are not in {self._file}, such as {missing[:5]}:"
                " is the config the one it was trained with?"
            )
        if missing and not self._partial:
            raise CheckpointError(
                f"{self._file} is of another model: {len(missing)} of the {len(own)} weights and buffers are not in it"
                f" or of another shape, such as {missing[:5]}; MODEL.WEIGHTS_PARTIAL True trains on what fits"
            )
        if further and not self._partial:
            switch = "" if self._complete else "; MODEL.WEIGHTS_PARTIAL True trains on what fits"
            raise CheckpointError(
                f"{self._file} is of another {'trunk' if is_of_trunk(further[0], self.model) else 'head'}:"
                f" {len(further)} of its weights are of parts that this one lacks,"
                f" such as {further[:5]}{switch}"
            )


def _is_state_dict(data: Any) -> bool:
    return (
        isinstance(data, dict) and bool(data) and all(isinstance(v, torch.Tensor | np.ndarray) for v in data.values())
    )


def training_only_keys(model: nn.Module) -> set[str]:
    """Keys of weights that no test feature reads: classifiers, whose size follows the training set, centers, and what
    the model or one of its modules, such as its head, lists in ``training_only``."""
    modules = dict(model.named_modules())
    names = [name.rpartition(".") for name in modules]
    classifiers = {f"{head}{dot}weight" for head, dot, layer in names if layer == "cls_layer"}  # as FastReID names it
    unread = tuple(
        f"{name}.{below}.".removeprefix(".")
        for name, module in modules.items()
        if isinstance(module, HasTrainingOnly)
        for below in module.training_only
    )
    return classifiers | {key for key in model.state_dict() if key.startswith(unread)}


def is_of_trunk(key: str, model: nn.Module) -> bool:
    """Whether a weight that a model lacks is of a trunk with more in it than the model's: further or other layers."""
    trunk, _, name = key.partition(".")
    return trunk == "backbone" and hasattr(model, trunk) and not re.match(CLASSIFIER, name)
