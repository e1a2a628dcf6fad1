"""Every order in which a few actors can do their steps, each step being one call of a store.

Actors run in threads of which one at a time goes on: the order is chosen here, and all are tried. Where the
stores hold what they held once before, and every actor has heard what it had heard then, all that can follow
has been tried already; so actors must do nothing but what follows from the answers of the stores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from oauth_refresh.backends.base import Backend, Copies, Entry

PATIENCE = 30.0


class CrashError(BaseException):
    """The process of this actor is gone."""


class Stage:
    """One run. `order` says who goes next for its first steps; after that, always the first who can."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = order
        self.taken: list[tuple[int, tuple[int, ...], str]] = []
        self._ready = threading.Semaphore(0)
        self._gates: list[threading.Semaphore] = []
        self._waiting: set[int] = set()
        self._me = threading.local()
        self.answers: list[Any] = []
        self.heard: list[list[Any]] = []
        self.stores: list[Backend] = []

    @property
    def actor(self) -> int:
        return int(self._me.number)

    def hear(self, answer: Any) -> Any:
        self.heard[self._me.number].append(answer)
        return answer

    def step(self) -> None:
        """Called by an actor before each step: wait until it is its turn, or die here."""
        self._waiting.add(self._me.number)
        self._ready.release()
        assert self._gates[self._me.number].acquire(timeout=PATIENCE)
        if self._me.steps_left == 0:
            raise CrashError
        self._me.steps_left -= 1

    def run(self, actors: Sequence[Callable[[], Any]], crash: tuple[int, int] | None) -> None:
        """`crash` is who dies before which of its steps."""
        self.answers = [None] * len(actors)
        self._gates = [threading.Semaphore(0) for _ in actors]
        self.heard = [[] for _ in actors]

        def act(number: int, actor: Callable[[], Any]) -> None:
            self._me.number = number
            self._me.steps_left = crash[1] if crash is not None and crash[0] == number else -1
            try:
                self.answers[number] = actor()
            except CrashError:
                self.answers[number] = CrashError
            except Exception as error:
                self.answers[number] = error
            self._ready.release()

        threads = [threading.Thread(target=act, args=each, daemon=True) for each in enumerate(actors)]
        for thread in threads:
            thread.start()
        for _ in actors:
            assert self._ready.acquire(timeout=PATIENCE)
        while self._waiting:
            able = tuple(sorted(self._waiting))
            at = len(self.taken)
            chosen = self._order[at] if at < len(self._order) else able[0]
            self.taken.append((chosen, able, self._situation()))
            self._waiting.discard(chosen)
            self._gates[chosen].release()
            assert self._ready.acquire(timeout=PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)

    def _situation(self) -> str:
        kept = [[(key, store.get(key)) for key in store.keys(b"")] for store in self.stores]
        return repr((kept, self.heard))


def every_order(play: Callable[[Stage], Any]) -> Iterator[Any]:
    """What `play` answers for each order. It makes everything anew and calls `run` on the stage."""
    to_try: list[list[int]] = [[]]
    met: set[str] = set()
    while to_try:
        order = to_try.pop()
        stage = Stage(order)
        yield play(stage)
        for at in range(len(order), len(stage.taken)):
            chosen, able, situation = stage.taken[at]
            if situation in met:
                break
            met.add(situation)
            before = [taken for taken, _, _ in stage.taken[:at]]
            to_try.extend([*before, other] for other in able if other != chosen)


class Stepped:
    """A store whose every call is a step of whoever calls it."""

    shared = True
    beside: str | None = None

    def __init__(self, store: Backend, stage: Stage) -> None:
        self._store = store
        self._stage = stage
        stage.stores.append(store)

    def get(self, key: bytes) -> Entry | None:
        self._stage.step()
        return self._stage.hear(self._store.get(key))  # type: ignore[no-any-return]

    def swap(
        self,
        key: bytes,
        old: Entry | None,
        body: bytes | None,
        expires_at: float | None = None,
        index: Any = (),
        copies: Copies = "none",
    ) -> bool:
        self._stage.step()
        return self._stage.hear(self._store.swap(key, old, body, expires_at, index, copies))  # type: ignore[no-any-return]

    def find(self, term: bytes) -> Iterator[bytes]:
        self._stage.step()
        return iter(self._stage.hear(list(self._store.find(term))))

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        self._stage.step()
        return iter(self._stage.hear(list(self._store.keys(prefix))))

    def purge(self, now: float) -> int:
        self._stage.step()
        return self._stage.hear(self._store.purge(now))  # type: ignore[no-any-return]

    def close(self) -> None:
        """Nothing is open."""
