"""Work done ahead in threads of their own, within bounds and in order: decoding and following while others embed."""

import atexit
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from typing import Generic, TypeVar

import cv2

T = TypeVar("T")


class Ahead(Generic[T]):
    """Iterates over `items` in a thread of its own, ahead of whoever iterates over this.

    limit: how much may be waiting, as the sum of `weigh(item)`; one item may always wait, however heavy.
    What the thread raises is raised here, after the items before it.
    """

    def __init__(self, items: Iterator[T], *, limit: int, weigh: Callable[[T], int]) -> None:
        self._items, self._limit, self._weigh = items, limit, weigh
        self._waiting: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._changed = Condition()
        self._stopped = self._ended = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)  # a daemon: it must not keep a process alive,
        atexit.register(self.close)  # nor be cut off in the middle of native code when that ends
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or self._stopped)
            if self._waiting:
                item, weight = self._waiting.popleft()
                self._weight -= weight
                self._changed.notify()
                return item
            error, self._error = self._error, None
        raise error or StopIteration

    def __enter__(self) -> "Ahead[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop: the thread finishes the item it is at, and has ended when this returns."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        with suppress(
            RuntimeError
        ):  # Ctrl-C came before its start, or the garbage collector closes it from within
            self._thread.join()
        atexit.unregister(self.close)

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item, self._weigh(item)):
                    break
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: T, weight: int) -> bool:
        """Line `item` up once there is room; False if nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or not self._waiting or self._weight + weight <= self._limit
            )
            if not self._stopped:
                self._waiting.append((item, weight))
                self._weight += weight
                self._changed.notify()
            return not self._stopped


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV to the thread that calls it: the other cores have stages of their own to run."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
