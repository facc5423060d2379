"""What makes the host wait for an accelerator, counted on any device."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode

_WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "item")


class Waits(TorchDispatchMode):
    """Inside `with Waits() as waits:` `waits.count` grows with every operation that an accelerator is waited for in."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.overloadpacket.__name__ in _WAITS
        return function(*args, **(kwargs or {}))
