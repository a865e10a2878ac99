"""What a process of the pool does when it dies; a small file, since every process of the pool reads it."""

import os
import signal

from emoclip.timeline import batch


def die_on_two(place, item):
    if item.name == "two":
        os.kill(os.getpid(), signal.SIGKILL)
    return batch._work(place, item)
