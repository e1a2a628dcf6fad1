"""What small values are made of: unchangeable, compared by content, quick to make and to read.

Five times as quick as a `NamedTuple`, and a renewal makes ten of them.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound="Value")


class Value(msgspec.Struct, frozen=True, gc=False):
    """A value with named members. Two of one kind are equal if all members are."""

    def but(self: T, **changes: Any) -> T:
        """The same value with other members. TypeError for one that it does not have."""
        return msgspec.structs.replace(self, **changes)
