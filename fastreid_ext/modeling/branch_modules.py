"""Modules by the names of branches, which may be words that Python keeps for itself."""

import keyword
from collections.abc import ItemsView, Iterator, KeysView

from torch import nn


def module_name(branch: str) -> str:
    """Return the name that a branch's module is registered by: the branch's, with "_" behind a Python keyword."""
    return f"{branch}_" if keyword.iskeyword(branch) else branch


def _branch(name: str) -> str:
    return name[:-1] if keyword.iskeyword(name[:-1]) else name


class BranchModules(nn.ModuleDict):
    """An ``nn.ModuleDict`` whose keys are branches: the module of "global" is registered as "global_".

    torch.export writes the names of modules into Python code, where "heads.global" is a syntax error. Only the names
    in ``state_dict`` and ``named_modules`` have the "_"; keys are branches.
    """

    def __getitem__(self, branch: str) -> nn.Module:
        return super().__getitem__(module_name(branch))

    def __setitem__(self, branch: str, module: nn.Module) -> None:
        super().__setitem__(module_name(branch), module)

    def __delitem__(self, branch: str) -> None:
        super().__delitem__(module_name(branch))

    def __contains__(self, branch: str) -> bool:
        return super().__contains__(module_name(branch))

    def __iter__(self) -> Iterator[str]:
        return map(_branch, self._modules)

    def keys(self) -> KeysView[str]:
        """Return the branches."""
        return dict.fromkeys(self).keys()

    def items(self) -> ItemsView[str, nn.Module]:
        """Return the branches, each with its module."""
        return dict(zip(self, self.values(), strict=True)).items()
