"""Which machine orders which chunk, where several fill one archive in an object store.

Each machine has a journal of its own and knows nothing of the others', so before it orders a
chunk it claims it in the store: it puts ``.claims/<chunk>.json``, which only one can.  A claim
is renewed while its machine downloads, and removed when the chunk has come to its end.  One
that has not been renewed for the time that claims last is that of a machine that is gone, and
so is one that was released by hand: whoever puts its own in its place, under the condition that
nobody has changed it since it was read, has the chunk now.

The titles of the jobs that the machines before had ordered go with the claim, so that who
takes it over can look for a job that is paid for before it orders one.

Times are those of the object store: how old a claim is, and, by an object of one's own that is
put when it matters, what time it is now.  So the clocks of the machines need not agree.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import platform
import random
import threading
import time
import uuid
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass, replace

from archive.layout import CLAIMS
from archive.storage import Bucket, Bytes, Part
from grid import Chunk

SUFFIX = ".json"
RENEWALS = 8  # in the time that a claim lasts
TURNS = 50  # attempts at a claim that others keep changing


@dataclass(frozen=True)
class Claim:
    """Who orders a chunk; what cannot be read is a claim of nobody that is known."""

    machine: str = ""  # the id of its journal
    host: str = "an unknown machine"
    title: str = ""  # of the job
    before: tuple[str, ...] = ()  # titles of the jobs of those who had the chunk before
    released: bool = False  # by hand
    nonce: str = ""  # no two puts are the same, or their tags would be

    @property
    def holder(self) -> str:
        """The machine as people know it."""
        return f"{self.host} ({self.machine})" if self.machine else self.host


@dataclass(frozen=True)
class Standing:
    """A claim as it is listed."""

    chunk: str  # its name
    claim: Claim
    age: float  # s since it was made or renewed


class Claims:
    """The claims on an archive's chunks, as the machine with this journal id sees them.

    ``lasts``: seconds after which a claim ends that is not renewed.  Safe to use from several
    threads.  Raises OSError, with a whole sentence, if the store cannot be used.
    """

    def __init__(self, bucket: Bucket, machine: str, lasts: float) -> None:
        self._bucket, self._machine, self._lasts = bucket, machine, lasts
        self._held: dict[Chunk, Claim] = {}
        self._lock = threading.Lock()

    def claim(self, chunk: Chunk, title: str) -> str:
        """Claim a chunk for the job with this title, or renew the claim: "", or who has it."""
        with self._lock:
            return self._claim(chunk, title)

    def inherited(self, chunk: Chunk) -> list[str]:
        """Titles under which machines that are gone may have ordered this chunk."""
        held = self._held.get(chunk)
        return list(held.before) if held else []

    def release(self, chunk: Chunk) -> None:
        """Let others have a chunk; what is not ours is left alone."""
        with self._lock:
            held = self._held.pop(chunk, None)
            # Nobody can take over what was renewed just now, so it is ours that is removed.
            if held is not None and not self._claim(chunk, held.title):
                self._bucket.discard([_key(chunk.name)])
                del self._held[chunk]

    @contextlib.contextmanager
    def kept(self, archived: Container[str]) -> Iterator[None]:
        """Renew what is held, for as long as the context lasts.

        ``archived``: names of chunks that need no claim any more; what killed machines have
        left of them is removed.  Raises OSError if the store lets two claim the same.
        """
        with self._probe() as key:
            self._bucket.require_conditions(key, b"")
        self._sweep(archived)
        end = threading.Event()
        threading.Thread(target=self._keep, args=(end,), daemon=True).start()
        try:
            yield
        finally:
            end.set()

    def standing(self) -> list[Standing]:
        """All claims, sorted by the names of their chunks."""
        keys = {k: at for k, at in self._bucket.below(CLAIMS).items() if k.endswith(SUFFIX)}
        if not keys:
            return []
        now, datas = self._now(), self._bucket.fetch([Part(key) for key in sorted(keys)])
        return [
            Standing(_chunk(key), _parse(data), (now - keys[key]).total_seconds())
            for key, data in zip(sorted(keys), datas, strict=True)
            if data is not None
        ]

    def is_over(self, standing: Standing) -> bool:
        """Whether the machine is gone, so that another one may have the chunk."""
        return standing.claim.released or standing.age > self._lasts

    def free(self, machine: str) -> list[str]:
        """End the claims of a machine, by its id or its host; the names of their chunks.

        They stay where they are, for who takes them over to find the jobs.
        """
        freed = []
        for standing in self.standing():
            claim, key = standing.claim, _key(standing.chunk)
            if machine in (claim.machine, claim.host) and not claim.released:
                found = self._bucket.get_tagged(key)
                if found is None or _parse(found[0]).nonce != claim.nonce:
                    continue  # its machine is not gone
                if self._bucket.put_if(key, _encode(replace(claim, released=True)), found[1]):
                    freed.append(standing.chunk)
        return freed

    # --- behind the scenes ---

    def _claim(self, chunk: Chunk, title: str) -> str:
        key = _key(chunk.name)
        for turn in range(TURNS):
            found = self._bucket.get_tagged(key)
            there, tag = (None, None) if found is None else (_parse(found[0]), found[1])
            if there is not None and not self._is_free(there, key):
                self._held.pop(chunk, None)
                return there.holder
            ours = self._successor(there, title)
            if self._bucket.put_if(key, _encode(ours), tag):
                self._held[chunk] = ours
                return ""
            time.sleep(random.uniform(0, min(0.5, 0.01 * 2**turn)))
        raise OSError(f"Others keep claiming {chunk} in {self._bucket.name}.")

    def _successor(self, there: Claim | None, title: str) -> Claim:
        """Our claim in the place of another one, or of an older one of ours."""
        before: tuple[str, ...] = ()
        if there is not None and there.machine != self._machine:
            before = tuple(dict.fromkeys((*there.before, *filter(None, [there.title]))))
        elif there is not None and there.title == title:
            before = there.before
        # A later job of ours is ordered since those of before were no good.
        return Claim(self._machine, platform.node(), title, before, nonce=uuid.uuid4().hex)

    def _is_free(self, there: Claim, key: str) -> bool:
        """Whether we may put our claim in its place.

        Its age is asked for after it was read: who renews it in between makes it younger.
        """
        if there.machine == self._machine or there.released:
            return True
        written = self._bucket.written(key)
        return written is None or (self._now() - written).total_seconds() > self._lasts

    def _now(self) -> dt.datetime:
        """The time by the clock of the object store."""
        with self._probe() as key:
            now = self._bucket.written(key)
        assert now is not None
        return now

    @contextlib.contextmanager
    def _probe(self) -> Iterator[str]:
        """An object that is there for a moment."""
        key = f"{CLAIMS}/{uuid.uuid4().hex}.clock"
        self._bucket.put(key, b"")
        try:
            yield key
        finally:
            self._bucket.discard([key])

    def _keep(self, end: threading.Event) -> None:
        while not end.wait(self._lasts / RENEWALS):
            for chunk in list(self._held):
                # One that cannot be renewed now is renewed the next time, or ends.
                with contextlib.suppress(OSError), self._lock:
                    if chunk in self._held:
                        self._claim(chunk, self._held[chunk].title)

    def _sweep(self, archived: Container[str]) -> None:
        """Remove our own claims, and those of machines that are gone, on archived chunks."""
        over = [
            _key(standing.chunk)
            for standing in self.standing()
            if standing.chunk in archived
            and (standing.claim.machine == self._machine or self.is_over(standing))
        ]
        self._bucket.discard(over)


def _key(name: str) -> str:
    return f"{CLAIMS}/{name}{SUFFIX}"


def _chunk(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(SUFFIX)


def _encode(claim: Claim) -> bytes:
    return json.dumps(asdict(claim)).encode()


def _parse(data: Bytes) -> Claim:
    try:
        found = json.loads(data.tobytes())
        return Claim(**(found | {"before": tuple(found["before"])}))
    except (ValueError, KeyError, TypeError):
        return Claim()
