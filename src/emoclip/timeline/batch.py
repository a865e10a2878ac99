"""Timelines of many inputs: several at once, each process with a model of its own, one bad file alone."""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process, resource_tracker
from typing import Any

from emoclip import interrupt
from emoclip.characters import visible
from emoclip.config import Progress
from emoclip.errors import ConfigError, LabelWarning, never_raised
from emoclip.files import check_no_file, new_folders
from emoclip.model import cores
from emoclip.timeline.baseline import check_baseline
from emoclip.timeline.outputs import InputOutcome, attempt
from emoclip.timeline.plan import Input, Settings, targets
from emoclip.timeline.watching import Model
from emoclip.video import called

Loader = Callable[..., Model]  # EmoCLIP.load
GRACE_S = 5.0  # that a process has to take away what it has half written


def run(
    inputs: Sequence[Input],
    settings: Settings,
    *,
    load: Loader,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Iterator[InputOutcome]:
    """Yield an outcome per input, as each is done; `jobs` at once, each in its own process if there are several.

    load: `EmoCLIP.load`, which every process calls for itself.
    progress: called with the sum over inputs of the share done, in [0, len(inputs)].
    Raises InputError, OutputError or PackageError if no input can be done at all, ConfigError also if not several at
    once.
    """
    check_no_file(settings.out)
    model = _load(load, settings, settings.threads)
    if not settings.watch_only:
        model.embed_text(settings.prompts, strict=settings.strict)
        check_baseline(model, settings.baseline)
    with new_folders({settings.out, *(targets(item, settings)[0].parent for item in inputs)}):
        if jobs < 2 or len(inputs) < 2:
            for place, item in enumerate(inputs):
                yield attempt(model, item, settings, _from(place, progress))
        else:
            try:
                yield from _at_once(inputs, settings, load, jobs, progress)
            except OSError as error:  # no shared memory, or too many open files
                why = error.strerror or error
                raise ConfigError(
                    f"{jobs} inputs at once cannot be read here ({why}); use --jobs 1"
                ) from None


def _at_once(
    inputs: Sequence[Input], settings: Settings, load: Loader, jobs: int, progress: Progress | None
) -> Iterator[InputOutcome]:
    shares = get_context("spawn").Array("d", len(inputs), lock=False)
    left = dict(enumerate(inputs))
    yield from _pool(left, settings, load, min(jobs, len(inputs)), shares, progress)
    # A process that died took the pool with it: the rest go on one by one, so that only the culprit fails.
    for place, item in list(left.items()):
        alone = {place: item}
        yield from _pool(alone, settings, load, 1, shares, progress)
        if alone:
            yield InputOutcome(item.source, "failed", f"{called(item.source)}: the process that read it died")


def _load(load: Loader, settings: Settings, threads: int | None) -> Model:
    return load(settings.model, threads=threads, provider=settings.provider, precision=settings.precision)


def _from(place: int, progress: Progress | None) -> Progress | None:
    return (lambda share: progress(place + share)) if progress else None


# In a process of the pool: its model, the settings, and where it tells how far it is.
_worker: tuple[Model, Settings, Any]


def _begin(settings: Settings, load: Loader, jobs: int, shares: Any) -> None:
    import cv2

    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    never_raised()
    warnings.showwarning = _show
    warnings.simplefilter("ignore", LabelWarning)  # the parent has told them
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threads = settings.threads or max(1, cores() // jobs)
    cv2.setNumThreads(threads)
    with warnings.catch_warnings(action="ignore"):  # those of the model, too
        _worker = (_load(load, settings, threads), settings, shares)


def _show(message: Warning | str, *_: object, **__: object) -> None:
    print(f"emoclip: {visible(' '.join(str(message).split()))}", file=sys.stderr, flush=True)


def _work(place: int, item: Input) -> InputOutcome:
    model, settings, shares = _worker
    try:
        # A terminal that closes tells all of us, and then our parent does.
        with interrupt.raised_in_work(once=True):
            return attempt(model, item, settings, lambda share: shares.__setitem__(place, share))
    except KeyboardInterrupt:  # half-written outputs are taken away; the pool would hand out more work
        os._exit(interrupt.status())


def _end_with_parent() -> None:
    """End this process as SIGTERM does once its parent is gone, killed say: nobody else would."""
    parent = parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os._exit(128 + signal.SIGTERM)


@contextmanager
def _kept_from_children(*names: str) -> Iterator[None]:
    """Start processes that do not see signals, which a terminal sends to all of us."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # A started process inherits it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in names})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pool(
    left: dict[int, Input],
    settings: Settings,
    load: Loader,
    jobs: int,
    shares: Any,
    progress: Progress | None,
) -> Iterator[InputOutcome]:
    """Work through `left` in `jobs` processes, taking out what is done; stops early if one of them dies."""
    arguments = (settings, load, jobs, shares)
    if os.name == "posix":
        # A terminal that closes would end it before what it keeps the books of, and it prints tracebacks then.
        with _kept_from_children("SIGHUP"):
            resource_tracker.ensure_running()
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin, initargs=arguments) as pool:
        with _kept_from_children("SIGINT"):  # before they turn it off themselves
            places: dict[Future[InputOutcome], int] = {
                pool.submit(_work, place, item): place for place, item in left.items()
            }
        pending = set(places)
        try:
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    shares[places[future]] = 1.0
                    del left[places[future]]
                    yield outcome
                if progress:
                    progress(sum(shares))
        except BrokenProcessPool:
            return
        except (KeyboardInterrupt, GeneratorExit, ImportError):
            pool.shutdown(wait=False, cancel_futures=True)
            children = active_children()
            for process in children:
                process.terminate()
            for process in children:
                process.join(GRACE_S)
                process.kill()
            raise
