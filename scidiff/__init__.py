"""scidiff: generate molecules, graphs and biological sequences with diffusion models and steer them by any reward."""

from __future__ import annotations

__version__ = "0.1.0"
