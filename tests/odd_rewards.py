"""Rewards that misbehave, in a module of their own so that worker processes can import them."""

import os
import sys
import time

import torch


def lengths(objects):
    return [float(len(o)) for o in objects]


def noisy(objects):
    print("loading the model")
    os.system("echo from C")
    return lengths(objects)


def fragile(objects):
    """Raises for 'bad', hangs for 'slow', dies for 'dead', exits for 'exit'."""
    for o in objects:
        if o == "bad":
            raise KeyError("colour")
        if o == "slow":
            time.sleep(60)
        if o == "dead":
            os._exit(7)
        if o == "exit":
            sys.exit("no licence")
    return lengths(objects)


class Elsewhere:
    """Raises in the process that made it."""

    floor, name, version = 0.0, "elsewhere", "1"

    def __init__(self):
        self.maker = os.getpid()

    def __call__(self, mols):
        if os.getpid() == self.maker:
            raise RuntimeError("asked at home")
        return [m.GetNumAtoms() / 10 for m in mols]


def short(objects):
    return [1.0]


class DiesOnce:
    """Kills its process the first time it is asked; `mark` is a file that remembers."""

    def __init__(self, mark):
        self.mark = mark

    def __call__(self, objects):
        if not os.path.exists(self.mark):
            open(self.mark, "w").close()
            os._exit(9)
        return lengths(objects)


class Threads:
    def __call__(self, objects):
        assert os.environ["OMP_NUM_THREADS"] == "1"
        return [float(torch.get_num_threads()) for _ in objects]


def process(objects):
    """The process it is asked in."""
    return [float(os.getpid()) for _ in objects]


def busy(objects):
    """A twentieth of a second of work an object."""
    for _ in objects:
        end = time.perf_counter() + 0.05
        while time.perf_counter() < end:
            pass
    return lengths(objects)
