"""Every error that durable_kernel raises, as one tree.

    DurableError (Exception)                 something a caller or a user has to act on
    ├── JournalError                         bytes on disk
    │   ├── JournalCorruptError              damage that is not a torn tail; nothing was cut
    │   ├── JournalFullError                 no room; raised before anything was written
    │   ├── JournalPoisonedError             a sync failed once; this journal takes no more acts
    │   └── JournalVersionError              written by another version of the format
    ├── RunError                             one run as a whole
    │   ├── RunLockedError                   another process writes this run
    │   ├── RunNotFoundError                 no run of that name or id
    │   ├── UntrustedRunError                frames that this user's key did not sign
    │   ├── RunMovedError                    the folder is not where this run lived
    │   ├── TaintedPositionError             a cell did something that the journal does not hold
    │   ├── PoisonedPositionError            a cell ended its process again and again
    │   └── BranchRefusedError               going on would repeat acts of the suffix left behind
    ├── OutcomeNotStorableError              an effect returned what no codec carries
    ├── CodecError (ValueError)              bytes that are no value here; nothing was executed
    ├── SealedSecretError                    a secret that this key does not open
    ├── StepFailedError                      a user marked a step in doubt as failed
    ├── AnswerRejectedError                  an answer given for an act in doubt has the wrong shape
    └── UsageError                           a command or an argument that cannot be meant

    Stop (BaseException)                     control flow; `except Exception` must not see it
    ├── RequestInterrupted                   an act may or may not have happened; catch it by name
    ├── DivergenceError                      the code asks for something else than was recorded
    │   └── WorldClosedError                 a replaying cell reached for the world past the journal
    ├── ActNotRepeatedError                  a cell run again would act beside what was done before
    └── RunSuspendedError                    the run stops here without unwinding (nobody to ask)

A class takes facts, hands the same to `super().__init__` (so that it pickles) and builds its
sentence in `__str__`. The sentence says where, what was found, what was expected, and what to do.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ActNotRepeatedError",
    "AnswerRejectedError",
    "BranchRefusedError",
    "CodecError",
    "DivergenceError",
    "DurableError",
    "JournalCorruptError",
    "JournalError",
    "JournalFullError",
    "JournalPoisonedError",
    "JournalVersionError",
    "OutcomeNotStorableError",
    "PoisonedPositionError",
    "RequestInterrupted",
    "RunError",
    "RunLockedError",
    "RunMovedError",
    "RunNotFoundError",
    "RunSuspendedError",
    "SealedSecretError",
    "Stop",
    "TaintedPositionError",
    "UntrustedRunError",
    "UsageError",
    "WorldClosedError",
]


class DurableError(Exception):
    """Root of everything that a caller can catch and a user can act on."""


# --- bytes on disk --------------------------------------------------------------------------------


class JournalError(DurableError):
    """A journal's bytes could not be read or written."""


class JournalCorruptError(JournalError):
    """Damage inside promised data. Nothing was changed on disk.

    `advice`: what to do, as sentences, for a file that is no segment; empty for a segment.
    """

    def __init__(self, path: Path | str, offset: int, found: str, advice: str = "") -> None:
        super().__init__(path, offset, found, advice)
        self.path, self.offset, self.found, self.advice = Path(path), offset, found, advice

    def __str__(self) -> str:
        if self.advice:
            return f"{self.path}: {self.found}. {self.advice}"
        return (
            f"{self.path}, byte {self.offset}: {self.found}. This is not the torn end of an "
            "interrupted write, so nothing was cut and nothing will be executed. Restore the "
            "file from a backup, or start anew with `durable run --fresh` (the damaged run is "
            "kept)."
        )


class JournalFullError(JournalError):
    """The disk has no room for these frames. None of them was written."""

    def __init__(self, path: Path | str, wanted_bytes: int, reason: str) -> None:
        super().__init__(path, wanted_bytes, reason)
        self.path, self.wanted_bytes, self.reason = Path(path), wanted_bytes, reason

    def __str__(self) -> str:
        return (
            f"{self.path}: no room for {self.wanted_bytes} bytes ({self.reason}). The journal is "
            "as it was before. Free some space and run the cell again."
        )


class JournalPoisonedError(JournalError):
    """The disk reported an error while syncing. The journal refuses further acts."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = Path(path), reason

    def __str__(self) -> str:
        return (
            f"{self.path}: the disk failed to sync ({self.reason}). What was written since the "
            "last sync may be lost although a later sync would report success, so this journal "
            "takes no further acts. Check the disk, then restart the kernel."
        )


class JournalVersionError(JournalError):
    """The segment was written by a version of the format that this build does not read."""

    def __init__(self, path: Path | str, found: int, supported: int) -> None:
        super().__init__(path, found, supported)
        self.path, self.found, self.supported = Path(path), found, supported

    def __str__(self) -> str:
        return (
            f"{self.path}: journal format {self.found}, but this build reads format "
            f"{self.supported}. Install a matching durable-kernel; nothing was changed."
        )


# --- one run --------------------------------------------------------------------------------------


class RunError(DurableError):
    """A run cannot be opened or continued as asked."""


class RunLockedError(RunError):
    """Another process holds the run's lock.

    `holder` is what it wrote about itself (may be empty).
    """

    def __init__(self, folder: Path | str, holder: str, instead: str = "") -> None:
        super().__init__(folder, holder, instead)
        self.folder, self.holder, self.instead = Path(folder), holder, instead

    def __str__(self) -> str:
        who = f" ({self.holder})" if self.holder else ""
        return (
            f"{self.folder}: another process is writing this run{who}. "
            f"Stop that kernel first{self.instead}; a run has one writer at a time."
        )


class RunNotFoundError(RunError):
    """No run has that id or name."""

    def __init__(self, asked: str, store: Path | str, near: tuple[str, ...] = ()) -> None:
        super().__init__(asked, store, near)
        self.asked, self.store, self.near = asked, Path(store), near

    def __str__(self) -> str:
        hint = (
            f" Did you mean {', '.join(self.near)}?"
            if self.near
            else " `durable ls` shows what is there."
        )
        return f"no run {self.asked!r} in {self.store}.{hint}"


class UntrustedRunError(RunError):
    """Frames that were not signed with this user's key. Nothing of the run was executed.

    `why`: sentences that say whose key it may have been, where that is known.
    """

    def __init__(self, run_id: str, path: Path | str, offset: int, why: str = "") -> None:
        super().__init__(run_id, path, offset, why)
        self.run_id, self.path, self.offset, self.why = run_id, Path(path), offset, why

    def __str__(self) -> str:
        is_frame = self.path.suffix == ".dkj"
        what = f"the frame at {self.path}, byte {self.offset}" if is_frame else str(self.path)
        why = self.why or "It was written by somebody else, with a lost key, or changed afterwards."
        return (
            f"run {self.run_id}: {what} was not signed with your key, so nothing of this run is "
            f"executed. {why} `durable show {self.run_id}` and `durable log` read it without a "
            f"key; `durable trust {self.run_id}` shows what would run, and accepts exactly these "
            "bytes as your own."
        )


class RunMovedError(RunError):
    """META names another machine or folder: moved, or copied? Only the user knows."""

    def __init__(self, run_id: str, recorded: str, found: str) -> None:
        super().__init__(run_id, recorded, found)
        self.run_id, self.recorded, self.found = run_id, recorded, found

    def __str__(self) -> str:
        return (
            f"run {self.run_id} lived at {self.recorded}, and is now at {self.found}. If both "
            "copies went on, acts would happen twice. If you moved it: `durable trust "
            f"{self.run_id} --moved` (or `durable run … --adopt`). If it is a copy: `durable trust "
            f"{self.run_id} --copied` puts it away, and its notebook starts a run of its own."
        )


class TaintedPositionError(RunError):
    """A position crossed the boundary unrecorded; re-executing it could repeat an act."""

    def __init__(self, position: int, crossings: tuple[str, ...]) -> None:
        super().__init__(position, crossings)
        self.position, self.crossings = position, crossings

    def __str__(self) -> str:
        what = "; ".join(self.crossings) or "an unrecorded act"
        return (
            f"cell at position {self.position} did something the journal does not hold: {what}. "
            "It is not executed again by itself. `%durable restore --redo` (or `durable run "
            "--redo`) executes it again, with those acts; `%durable fresh` starts a new run."
        )


class CutPositionError(TaintedPositionError):
    """A signal cut the cell while it computed: executing it again would come out otherwise (H16).

    `unkept`: which of its names are not in the journal, and why; empty if none are.
    `is_partly_kept`: the others are there.
    """

    def __init__(
        self,
        position: int,
        unkept: str = "",
        is_partly_kept: bool = False,  # noqa: FBT001, FBT002 - errors are unpickled by position
    ) -> None:
        super().__init__(position, (unkept,))
        self.args = (position, unkept, is_partly_kept)
        self.unkept, self.is_partly_kept = unkept, is_partly_kept

    def __str__(self) -> str:
        kept = "What it left was not kept: its process died before that."
        partly = ""
        if self.unkept:
            kept = f"What it left is not all kept ({self.unkept})."
        if self.is_partly_kept:
            partly = (
                "; `%durable restore --partly` (or `durable run --partly`) takes what was kept, "
                "and the other names away"
            )
        return (
            f"the cell at position {self.position} was interrupted in the middle of computing, and "
            f"would not stop there again. {kept} `%durable restore --redo` (or `durable run "
            f"--redo`) executes it again, to its end{partly}; `%durable restore --without` goes on "
            "with the state before it; `%durable fresh` starts a new run."
        )


class PoisonedPositionError(RunError):
    """A position ended its process several times in a row. `memory`: a clause, or empty."""

    def __init__(self, position: int, deaths: int, memory: str = "") -> None:
        super().__init__(position, deaths, memory)
        self.position, self.deaths, self.memory = position, deaths, memory

    def __str__(self) -> str:
        return (
            f"cell at position {self.position} ended its process {self.deaths} times in a row, "
            f"with nothing new recorded{self.memory}. It is not executed again by itself. Correct "
            "it and run again: it reuses what it had recorded; or `durable run --redo` executes "
            "it as it is."
        )


class BranchRefusedError(RunError):
    """An edited cell would leave acts behind that were done and cannot be undone.

    `choices`: sentences that say what can be done instead, where it is not a headless run.
    """

    def __init__(self, position: int, acts: tuple[str, ...], choices: str = "") -> None:
        super().__init__(position, acts, choices)
        self.position, self.acts, self.choices = position, acts, choices

    def __str__(self) -> str:
        listed = "; ".join(self.acts)
        if self.choices:
            return f"this run already did, from cell {self.position} on: {listed}. {self.choices}"
        return (
            f"the cell at position {self.position} differs from the recorded one, and this run "
            f"already did, from there on: {listed}. Going on would do that again. Nothing was "
            "executed. Restore the cell, allow it with `--repeat-acts`, or start anew with "
            "`--fresh`."
        )


# --- values ---------------------------------------------------------------------------------------


class OutcomeNotStorableError(DurableError):
    """An effect returned something that neither the codec nor the object codec can store."""

    def __init__(self, call: str, type_name: str, reason: str) -> None:
        super().__init__(call, type_name, reason)
        self.call, self.type_name, self.reason = call, type_name, reason

    def __str__(self) -> str:
        return (
            f"{self.call} returned a {self.type_name}, which cannot be stored ({self.reason}). "
            "Return something storable: plain values, arrays, data frames, or picklable objects."
        )


class CodecError(DurableError, ValueError):
    """Bytes that no value of the codec has, or none that can be read here. Nothing was executed."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        return (
            f"these bytes cannot be read as a value: {self.found}. Nothing was executed. If they "
            "come from a journal, `durable show` tells which frames still verify."
        )


class SealedSecretError(DurableError):
    """A sealed secret cannot be opened. `reason` is a clause."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"this secret stays sealed: {self.reason}. Run with the key that wrote it "
            "(DURABLE_KEY_FILE), or supply the secret anew."
        )


class StepFailedError(DurableError):
    """A step was in doubt after a crash, and a user marked it as failed."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step

    def __str__(self) -> str:
        return f"step {self.step} was interrupted by a crash and then marked as failed."


class AnswerRejectedError(DurableError):
    """An answer supplied for an act in doubt does not have the shape that its kind needs."""

    def __init__(self, kind: str, found: str, expected: str) -> None:
        super().__init__(kind, found, expected)
        self.kind, self.found, self.expected = kind, found, expected

    def __str__(self) -> str:
        return (
            f"an answer for {self.kind} needs {self.expected}, but {self.found}. The act is still "
            "in doubt."
        )


class UsageError(DurableError):
    """A command, option or argument that cannot be carried out as written."""


# --- control flow through user code ---------------------------------------------------------------


class Stop(BaseException):
    """Root of what passes through user code.

    Not an `Exception`: a retry loop must not swallow it.
    """


class RequestInterrupted(Stop):
    """An act was announced, and whether it happened is not known.

    Raised where user code names it.
    """

    def __init__(self, call: str, where: str, announced_at: str) -> None:
        super().__init__(call, where, announced_at)
        self.call, self.where, self.announced_at = call, where, announced_at

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.call} was announced at {self.announced_at} and the process died "
            "before an answer was recorded. It may or may not have happened; it was not sent "
            "again."
        )


class DivergenceError(Stop):
    """The code asks for something else than the journal recorded. Nothing was executed."""

    def __init__(
        self,
        where: str,
        recorded: str,
        asked: str,
        differences: tuple[str, ...] = (),
        likely_cause: str = "",
    ) -> None:
        super().__init__(where, recorded, asked, differences, likely_cause)
        self.where, self.recorded, self.asked = where, recorded, asked
        self.differences, self.likely_cause = differences, likely_cause

    def __str__(self) -> str:
        lines = [
            (
                f"{self.where}: the code asks for {self.asked}, but the journal recorded "
                f"{self.recorded}."
            ),
            *(f"  {difference}" for difference in self.differences),
        ]
        if self.likely_cause:
            lines.append(f"Likely cause: {self.likely_cause}")
        lines.append(
            "Nothing was sent and nothing is lost. Restore the cell, or run %durable fresh to "
            "start a new run (this one is kept)."
        )
        return "\n".join(lines)


class WorldClosedError(DivergenceError):
    """A replaying cell tried to act on the world past the journal; it was stopped before that."""


class ActNotRepeatedError(Stop):
    """A cell that is run again asks for an act, and acts of the attempt before are left over."""

    def __init__(self, where: str, asked: str, acts: tuple[str, ...]) -> None:
        super().__init__(where, asked, acts)
        self.where, self.asked, self.acts = where, asked, acts

    def __str__(self) -> str:
        listed = "; ".join(self.acts)
        return (
            f"{self.where}: the cell, run again, asks for {self.asked}. The attempt before did: "
            f"{listed}; and this was not asked for again, in order, so going on might do something "
            "twice. Nothing was sent. Restore the cell up to there, or allow it: `durable run "
            "--repeat-acts`, in a notebook `%durable retry --repeat-acts`."
        )


class RunSuspendedError(Stop):
    """The run stops here; `reason` is one sentence. Nothing after this point is executed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason
