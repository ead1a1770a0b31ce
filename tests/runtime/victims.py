"""What the isolation tests call in child processes."""

import importlib
import mmap
import os
import sys
import tempfile
import time

from bnfold.errors import MissingDependencyError, ModelError, ProviderError, VerificationError
from bnfold.runtime import providers

MAP_NORESERVE = 0x4000  # of Linux; the module names it since Python 3.13


def add(left, right):
    return left + right


def chatter(value):
    sys.stdout.write("a runtime says hello\n")
    os.write(1, b"\xff\x00 and some bytes\n")
    sys.stderr.write("and complains\n")
    return value


def die(signal):
    os.kill(os.getpid(), signal)


def litter():
    tempfile.mkdtemp()
    os._exit(1)


def leave(status, message):
    sys.stderr.write(message)
    sys.stderr.flush()
    os._exit(status)


def refuse():
    raise ModelError("this model is not for me")


def miss():
    raise MissingDependencyError("onnxruntime", "cpu")


def doubt():
    raise VerificationError("they differ", {"a": "comparison"})


def stumble():
    return 1 // 0


def hang(pid_file):
    pid_file.with_suffix(".partial").write_text(str(os.getpid()))
    pid_file.with_suffix(".partial").rename(pid_file)
    time.sleep(60)


def eat(mebibytes):
    food = [bytearray(os.urandom(1) * (1 << 20)) for _ in range(mebibytes)]
    time.sleep(60)
    return len(food)


def reserve(mebibytes):
    space = mmap.mmap(-1, mebibytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    time.sleep(0.2)
    return len(space) >> 20


def load(modules):
    for module in modules:
        importlib.import_module(module)
    return sorted(sys.modules)


def probe_twice(text):
    """What a provider that cannot run says of itself, the first time and again."""
    said = []
    for _ in range(2):
        try:
            providers.probe(providers.parse(text))
        except ProviderError as error:
            said.append(str(error))
    return said
