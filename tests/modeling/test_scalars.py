"""Numbers for the log: logged at once, or kept as tensors for who collects them."""

import torch

from fastreid_ext.modeling.scalars import collected_scalars, log_scalars


def test_numbers_are_logged_at_once_or_collected(storage):
    log_scalars(["a", "b"], torch.tensor([1.0, 2.0]))
    assert {name: value for name, (value, _) in storage.latest().items()} == {"a": 1.0, "b": 2.0}
    with collected_scalars() as scalars:
        log_scalars(["a", "c"], torch.ones(2, device="meta"))  # which could not be read
    assert set(storage.latest()) == {"a", "b"}
    ((names, values),) = scalars
    assert names == ("a", "c") and values.is_meta
    log_scalars(["a"], torch.tensor([3.0]))
    assert storage.latest()["a"][0] == 3.0
