"""Work done ahead in threads of their own, within bounds and in order: decoding and following while others embed."""

import atexit
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Lock, Thread, current_thread, main_thread
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import cv2

T = TypeVar("T")

ENDING_S = 5.0  # that the end of a program waits for the frames or crops that its threads are at

_workers = Condition()
_at_work: dict[Thread, int] = {}  # how many deep each is
_running: "WeakSet[Ahead[Any]]" = WeakSet()
_ending = False


def is_ending() -> bool:
    """True once the program ends: no thread can be started then."""
    return _ending


@contextmanager
def at_work() -> Iterator[None]:
    """Within this, a thread is in native code, which a program that ends must not cut off: it would abort.

    The end waits for it.  A thread that comes here later ends as the program does, by SystemExit, which is silent in
    it: what it is at must not look as if it had been read to its end.
    """
    thread = current_thread()
    with _workers:
        if _ending and thread is not main_thread():
            raise SystemExit
        _at_work[thread] = _at_work.get(thread, 0) + 1
    try:
        yield
    finally:
        with _workers:
            _at_work[thread] -= 1
            if not _at_work[thread]:
                del _at_work[thread]
            _workers.notify_all()


@contextmanager
def at_rest() -> Iterator[None]:
    """Within this, inside of `at_work`, a thread waits for what may never come: the end of the program does not."""
    thread = current_thread()
    with _workers:
        depth = _at_work.pop(thread, 0)
        _workers.notify_all()
    try:
        yield
    finally:
        with _workers:
            if depth:
                _at_work[thread] = depth
    if _ending and thread is not main_thread():
        raise SystemExit


def working(items: Iterator[T]) -> Iterator[T]:
    """Iterate with each step `at_work`."""
    while True:
        with at_work():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def _end() -> None:
    """Close all that runs ahead, and wait until no other thread is in native code, or for `ENDING_S`."""
    global _ending
    with _workers:
        _ending = True
    for each in list(_running):
        each.close()
    with _workers:
        # After a fork, those of the process before are here still.
        own = current_thread()
        _workers.wait_for(lambda: not any(each.is_alive() for each in _at_work if each is not own), ENDING_S)


atexit.register(_end)


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
        _running.add(self)  # nor be cut off in the middle of native code when that ends
        atexit.unregister(_end)
        atexit.register(_end)  # the last one registered is the first one called
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
        if _ending and current_thread() is not main_thread():
            raise SystemExit
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
        _running.discard(self)

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


_opencv = Lock()
_alone, _threads = 0, 0  # how many ask for one thread just now, and how many OpenCV had before


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV to the thread that calls it: the other cores have stages of their own to run.

    It holds for the process, until the last of those who ask for it is done.
    """
    global _alone, _threads
    with at_work(), _opencv:
        if not _alone:
            _threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _alone += 1
    try:
        yield
    finally:
        with at_work(), _opencv:
            _alone -= 1
            if not _alone:
                cv2.setNumThreads(_threads)
