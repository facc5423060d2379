"""Small mistakes in code, one at a time: another operator, number or condition, an argument or a statement left out."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_OPERATORS: dict[type[ast.AST], tuple[Any, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,), ast.And: (ast.Or,), ast.Or: (ast.And,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,),
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,),
}  # fmt: skip
_TWINS = [
    ("min", "max"), ("amin", "amax"), ("argmin", "argmax"), ("minimum", "maximum"), ("any", "all"), ("sum", "mean"),
    ("zeros", "ones"), ("new_zeros", "new_ones"), ("tril", "triu"),
]  # fmt: skip
_NAMES = {**dict(_TWINS), **{second: first for first, second in _TWINS}}
# what gives a value of its receiver's kind, and so may be forgotten
_LEFT_OUT = {
    "abs", "clamp", "clamp_", "clamp_min_", "clip", "contiguous", "cpu", "detach", "double", "eval", "exp", "float", "log",
    "log_softmax", "lower", "masked_fill", "nan_to_num", "nan_to_num_", "rsqrt", "sigmoid", "softmax", "sqrt", "square",
    "strip", "rstrip", "to", "trimmed", "without_impossible",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One mistake: `new` in the place of the bytes from `start` to `stop`, and what came of it."""

    module: str
    line: int
    start: int
    stop: int
    new: str
    outcome: str = ""

    def source(self, original: bytes) -> bytes:
        """The module with the mistake in it."""
        return original[: self.start] + self.new.encode() + original[self.stop :]

    def diff(self, original: bytes) -> str:
        """The lines that differ."""
        before, after = original.decode().splitlines(), self.source(original).decode().splitlines()
        lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
        return "\n".join(line for line in lines if not line.startswith("@@"))


def mutants(module: str, source: bytes) -> list[Mutant]:
    """All of them that Python can compile, in the order of the text."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in _code(ast.parse(source)):
        for changed in _mistakes(node):
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            start, stop = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            new = ast.unparse(ast.fix_missing_locations(changed))
            found.append(Mutant(module, node.lineno, start, stop, f"({new})" if isinstance(changed, ast.expr) else new))
    return sorted((mutant for mutant in found if _compiles(mutant.source(source))), key=lambda mutant: mutant.start)


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _code(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """What runs, but for annotations, decorators and messages."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "msg", "exc"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                if isinstance(child, (ast.expr, ast.stmt)):
                    yield child
                yield from _code(child)


def _mistakes(node: ast.expr | ast.stmt) -> Iterator[ast.expr | ast.stmt]:
    """What is to stand in the place of it, one after the other."""
    match node:
        case ast.Compare(left, operators, others):
            for place, operator in enumerate(operators):
                for new in _OPERATORS.get(type(operator), ()):
                    yield ast.Compare(left, [*operators[:place], new(), *operators[place + 1 :]], others)
        case ast.BinOp(left, operator, right):
            yield from (ast.BinOp(left, new(), right) for new in _OPERATORS.get(type(operator), ()))
        case ast.BoolOp(operator, values):
            yield from (ast.BoolOp(new(), values) for new in _OPERATORS.get(type(operator), ()))
        case ast.UnaryOp(_, operand):
            yield operand
        case ast.Constant(bool() as truth):
            yield ast.Constant(not truth)
        case ast.Constant(int() | float() as number):
            yield from (ast.Constant(number + step) for step in (1, -1) if number + step != number)
        case ast.Call(function, given, keywords):
            match function:
                case ast.Attribute(receiver, name) if name in _LEFT_OUT:
                    yield receiver
                case ast.Attribute(receiver, name) if name in _NAMES:
                    yield ast.Call(ast.Attribute(receiver, _NAMES[name]), given, keywords)
                case ast.Name(name) if name in _NAMES:
                    yield ast.Call(ast.Name(_NAMES[name]), given, keywords)
            for place in range(len(keywords)):
                yield ast.Call(function, given, keywords[:place] + keywords[place + 1 :])
        case ast.IfExp(test, then, otherwise):
            yield ast.IfExp(test, otherwise, then)
        case ast.If(ast.Compare() | ast.UnaryOp()):
            return  # whose mistakes are the condition's own
        case ast.If(test, then, otherwise):
            yield ast.If(ast.UnaryOp(ast.Not(), test), then, otherwise)
        case ast.Expr(ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue():
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Assign([ast.Name(name)], value) if name in _read(value):
            yield ast.Pass()


def _read(value: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
