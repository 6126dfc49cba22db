"""The grammar of reward expressions: parsed with `ast`, checked token by token, never evaluated.

Numbers, reward names, rewards with parameters, + - * / **, min, max, mean, geometric_mean,
chebyshev and the desirability curves; around all of it pareto. One fold over the tree serves both
meanings: values of a batch, and the interval they must lie in (from which the floor of the whole
expression follows).
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from scidiff.messages import listed
from scidiff.rewards import registry
from scidiff.rewards.curves import CURVES

Leaves = dict[str, Any]  # source of a leaf -> the reward it names
PARETO = "pareto"  # around the objectives of a front, outside of everything


def _geometric_mean(parts: Sequence[Tensor]) -> Tensor:
    """(prod x_i)^(1/n); a negative factor has no geometric mean and gives NaN."""
    return torch.stack(list(parts)).log().mean(0).exp()


def _chebyshev(parts: Sequence[Tensor]) -> Tensor:
    """min_i x_i + 0.05 mean_i x_i: the augmented Chebyshev scalarisation (Steuer and Choo 1983).

    Unlike a weighted sum its maxima reach every part of a Pareto front; weights go inside, as in
    chebyshev(0.7*qed, 0.3*sa).
    """
    found = torch.stack(list(parts))
    return found.amin(0) + 0.05 * found.mean(0)


MEANS: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "min": lambda parts: torch.stack(list(parts)).amin(0),
    "max": lambda parts: torch.stack(list(parts)).amax(0),
    "mean": lambda parts: torch.stack(list(parts)).mean(0),
    "geometric_mean": _geometric_mean,
    "chebyshev": _chebyshev,
    PARETO: lambda parts: torch.stack(list(parts)).mean(0),  # the one number that is shown
}
_BINARY: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: torch.add, ast.Sub: torch.sub, ast.Mult: torch.mul, ast.Div: torch.div,
    ast.Pow: torch.pow,
}


def parse(source: str) -> tuple[ast.expr, Leaves]:
    """Read an expression into its checked tree and the rewards it names.

    Raises ValueError that names the token, its position (from 1) and the nearest known name.
    """
    text = " ".join(source.split())
    if not text:
        raise ValueError("a reward expression is empty; write for example '0.7*qed + 0.3*sa'")
    try:
        tree = ast.parse(text, mode="eval").body
        leaves: Leaves = {}
        for part in objectives(tree) or [tree]:
            _check(part, text, leaves)
    except SyntaxError as error:
        column = error.offset or len(text) + 1  # offset 0: the text ended too early
        raise ValueError(f"cannot read the reward expression {_short(text)} at position {column}: "
                         f"{error.msg}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"the reward expression {_short(text)} is nested too deeply") from None
    if not leaves:
        raise ValueError(f"the reward expression {text!r} names no reward; "
                         f"known: {_listed(registry.installed())}")
    return tree, leaves


def objectives(tree: ast.expr) -> list[ast.expr]:
    """What a whole `pareto(...)` seeks the front of; empty for a formula of one number."""
    match tree:
        case ast.Call(func=ast.Name(id=name), args=[_, _, *_], keywords=[]) if name == PARETO:
            return tree.args
        case _:
            return []


def _check(node: ast.expr, text: str, leaves: Leaves) -> None:
    match node:
        case ast.Call(func=ast.Name(id=name)) if name == PARETO:
            raise _error(node, text, f"{PARETO} takes two or more objectives and stands around "
                                     f"the whole formula: {_usage(PARETO)}")
        case ast.Constant(value=bool()):
            raise _error(node, text, "True and False are not numbers")
        case ast.Constant(value=int() | float()):
            return
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, text, leaves)
            _check(right, text, leaves)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check(operand, text, leaves)
        case ast.Name(id=name):
            leaves[name] = _plain(node, name, text)
        case ast.Call(func=ast.Name(id=name)) if name in CURVES:
            _check_curve(node, name, text)
            _check(node.args[0], text, leaves)
        case ast.Call(func=ast.Name(id=name), args=[_, *_], keywords=[]) if name in MEANS:
            for part in node.args:
                _check(part, text, leaves)
        case ast.Call(func=ast.Name(id=name)):
            leaves[ast.unparse(node)] = _with_parameters(node, name, text)
        case _:
            raise _error(node, text, f"{ast.unparse(node)!r} is not allowed here; use numbers, "
                                     f"rewards, + - * / **, {', '.join([*MEANS, *CURVES])}")


def _plain(node: ast.expr, name: str, text: str) -> Any:
    if name in CURVES or name in MEANS:
        raise _error(node, text, f"{name!r} needs arguments, for example {_usage(name)}")
    found = _known(node, name, text)
    if not inspect.isclass(found):
        return found
    try:
        inspect.signature(found).bind()
        return found()  # all its parameters have defaults
    except (TypeError, ValueError):
        raise _error(node, text,
                     f"reward {name!r} needs parameters: {_usage(name, found)}") from None


def _with_parameters(node: ast.Call, name: str, text: str) -> Any:
    if name in MEANS:
        raise _error(node, text, f"{name} takes one or more rewards: {_usage(name)}")
    found = _known(node, name, text)
    if not inspect.isclass(found):
        raise _error(node, text, f"reward {name!r} takes no parameters")
    try:
        args = [_literal(a) for a in node.args]
        options = {str(k.arg): _literal(k.value) for k in node.keywords}
        inspect.signature(found).bind(*args, **options)
    except (ValueError, TypeError) as error:
        raise _error(node, text, f"{error}; usage {_usage(name, found)}") from None
    try:
        return found(*args, **options)
    except (ValueError, TypeError) as error:
        raise _error(node, text, str(error)) from error


def _known(node: ast.expr, name: str, text: str) -> Any:
    found = registry.find(name)
    if found is None:
        known = sorted([*registry.installed(), *CURVES, *MEANS])
        broken = "".join(f"; missing: {why}" for why in registry.unloaded())
        raise _error(node, text, f"unknown reward {name!r}{registry.nearest(name, known)}{broken}",
                     known)
    return found


def _check_curve(node: ast.Call, name: str, text: str) -> None:
    curve = CURVES[name]
    try:
        numbers = [_number(a) for a in node.args[1:]]
        options = {str(k.arg): _number(k.value) for k in node.keywords}
        inspect.signature(curve).bind(*node.args[:1], *numbers, **options)
        curve(torch.zeros(1, dtype=torch.float64), *numbers, **options)
    except (ValueError, TypeError) as error:
        raise _error(node, text, f"{error}; usage {_usage(name)}") from None


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)!r} is not a text or a number") from None


def _number(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_number(inner)
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is not a number")


def _usage(name: str, found: Any = None) -> str:
    if name in MEANS:
        return f"{name}(qed, sa)"
    wanted = [str(p.replace(annotation=p.empty)).replace(" ", "")
              for p in inspect.signature(CURVES.get(name, found)).parameters.values()]
    if name in CURVES:
        wanted[0] = "reward"
    return f"{name}({', '.join(wanted)})"


def _listed(names: Iterable[str]) -> str:
    return listed(sorted(names), 32, "scidiff rewards list")


def _error(node: ast.expr, text: str, what: str, known: Sequence[str] = ()) -> ValueError:
    tail = f" Known: {_listed(known)}." if known else ""
    # col_offset counts bytes, a person counts characters
    column = len(text.encode()[:node.col_offset].decode(errors="ignore")) + 1
    return ValueError(f"{what} (position {column} of {_short(text)}).{tail}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")


def values(node: ast.expr, leaf: Callable[[str], Tensor]) -> Tensor:
    """Evaluate the tree where `leaf(source)` is the value of a reward, (B,) float64."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return torch.tensor(float(value), dtype=torch.float64)
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](values(left, leaf), values(right, leaf))
        case ast.UnaryOp(op=op, operand=operand):
            inner = values(operand, leaf)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.Call(func=ast.Name(id=name)) if name in CURVES:
            return _bend(node, values(node.args[0], leaf))
        case ast.Call(func=ast.Name(id=name)) if name in MEANS:
            return MEANS[name](torch.broadcast_tensors(*(values(a, leaf) for a in node.args)))
        case _:
            return leaf(ast.unparse(node))


def _bend(node: ast.Call, x: Tensor) -> Tensor:
    assert isinstance(node.func, ast.Name)
    return CURVES[node.func.id](x, *(_number(a) for a in node.args[1:]),
                                **{str(k.arg): _number(k.value) for k in node.keywords})


def interval(node: ast.expr, leaf: Callable[[str], Tensor]) -> Tensor:
    """Bound the tree by interval arithmetic where `leaf(source)` is (low, high): (2,) float64.

    Infinite ends mean unknown: a bound that cannot be proved is not claimed.
    """
    match node:
        case ast.Constant(value=int() | float() as value):
            return torch.tensor([float(value)] * 2, dtype=torch.float64)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -interval(operand, leaf).flip(0)
        case ast.UnaryOp(operand=operand):
            return interval(operand, leaf)
        case ast.BinOp(left=left, op=op, right=right):
            return _arithmetic(op, interval(left, leaf), interval(right, leaf))
        case ast.Call(func=ast.Name(id=name)) if name in CURVES:
            return torch.tensor([0.0, 1.0], dtype=torch.float64)
        case ast.Call(func=ast.Name(id=name)) if name in MEANS:
            parts = [interval(a, leaf) for a in node.args]
            if name == "geometric_mean" and any(p[0] < 0 for p in parts):
                return _unknown()
            return MEANS[name](parts)
        case _:
            return leaf(ast.unparse(node))


def _unknown() -> Tensor:
    return torch.tensor([-math.inf, math.inf], dtype=torch.float64)


def _arithmetic(op: ast.operator, a: Tensor, b: Tensor) -> Tensor:
    match op:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b.flip(0)
        case ast.Mult():
            corners = a[:, None] * b[None, :]
        case ast.Div() if b[0] > 0 or b[1] < 0:
            corners = a[:, None] / b[None, :]
        case ast.Pow() if a[0] >= 0 and b[0] > 0:
            corners = a[:, None] ** b[None, :]
        case _:
            return _unknown()
    # 0 times an unbounded end is 0: the other factor is finite wherever it is evaluated
    corners = torch.where(corners.isnan(), 0.0, corners)
    return torch.stack([corners.min(), corners.max()])
