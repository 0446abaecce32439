"""Standing: how a run stands to this user. Whose key its frames carry, and where it lived.

For people: nothing may be executed because of what stands here. The frames' tags decide that, in
the journal, each time anew. META's name of a key is a hint that anybody can write.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Standing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a run's key and place. `own_frames` counts those that verify, of `frames`.

    `key_id` is the key that META names, `own_key_id` that of the file `key_path` (both None where
    there is none). `damage`: why META can't be read.
    """

    frames: int
    own_frames: int
    is_meta_signed: bool
    key_id: str | None
    own_key_id: str | None
    key_path: Path
    recorded: str
    found: str
    is_in_place: bool
    damage: str = ""

    @property
    def is_own(self) -> bool:
        """Tell whether nothing is left to accept."""
        return self.own_frames == self.frames and self.is_meta_signed

    @property
    def is_of_a_lost_key(self) -> bool:
        """Tell whether it was written in this very place, as META says, with another key."""
        is_other = self.key_id is not None and self.key_id != self.own_key_id
        return is_other and self.is_in_place

    def why_foreign(self) -> str:
        """Say whose key it may have been, and what to do; "" where nothing is known."""
        if self.key_id is None or self.key_id == self.own_key_id:
            return ""
        own = f"yours is {self.own_key_id}" if self.own_key_id else "you have none yet"
        keys = f"its key was {self.key_id}; {own} ({self.key_path})"
        if not self.is_of_a_lost_key:
            return f"By what META says, it was written elsewhere: {keys}."
        return (
            f"By what META says, it was written here with another key: {keys}. So your key file "
            f"was lost or replaced. Put the old one back from a backup, as {self.key_path}, or "
            "name it by DURABLE_KEY_FILE, and all is as before. Without it you can take the run "
            "over with the new key, by `durable trust`; what was sealed with the old one stays "
            "sealed."
        )
