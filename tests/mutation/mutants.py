"""Small mistakes, one at a time, in a source file: a flipped sign, a dropped term, a changed index, a statement less.

A mutant is a place in the file's syntax tree and what stands there instead. Docstrings, annotations, decorators, what
an error says and `__repr__` stay as they are: no number depends on them.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType

_OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
}  # fmt: skip
_OTHER_CALL = {
    "add": "subtract", "subtract": "add", "multiply": "divide", "divide": "multiply", "tanh": "sin", "exp": "expm1",
    "sqrt": "abs", "log": "log1p", "max": "min", "min": "max", "any": "all", "all": "any", "zeros": "ones",
    "zeros_like": "ones_like", "ones": "zeros",
}  # fmt: skip
_ORDERED_CALLS = ("subtract", "divide", "matmul", "copyto", "zip")
_NAMED_CALLS = ("min", "max", "any", "all")  # those of the table that are no methods
_UNCHANGED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)

Replacement = tuple[str, ast.AST]


@dataclass(frozen=True)
class Place:
    """Where a node hangs in the tree: in a field of its parent, at an index if the field is a list.

    function : the qualified name of the function or class around it. lines : (first, last); a test that runs none of
        them cannot see a change of the node.
    """

    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST
    function: str
    lines: tuple[int, int]

    def put(self, node: ast.AST) -> None:
        """Hang another node there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass(frozen=True)
class Mutant:
    """One mistake: where it is, its first line of code, what stood there, and what stands there now.

    id : what tells it from all others of the file, also when it has moved to another line. In another function, or in
        one that has changed, it is another mutant: what was found of the old one says nothing of it.
    """

    id: str
    file: str
    line: int
    code: str
    operator: str
    before: str
    after: str
    place: Place
    replacement: ast.AST
    tree: ast.Module

    def compile(self, path: str) -> CodeType:
        """Return the code of the whole module with the mistake in it."""
        with self._made():
            return compile(ast.fix_missing_locations(self.tree), path, "exec", dont_inherit=True)

    @contextmanager
    def _made(self) -> Iterator[None]:
        self.place.put(self.replacement)
        try:
            yield
        finally:
            self.place.put(self.place.node)


def find_mutants(file: str, source: str) -> list[Mutant]:
    """Return every mutant of a source file, in its order."""
    tree, lines, found = ast.parse(source), source.splitlines(), []
    seen, bodies = Counter[str](), dict(_functions(tree, ""))
    for place in _places(tree, "", (1, len(lines))):
        for operator, new in _replacements(place.node):
            new = ast.fix_missing_locations(ast.copy_location(new, place.node))
            before, after = _shown(place.node), _shown(new)
            text = "\n".join((file, place.function, bodies.get(place.function, ""), operator, before, after))
            seen[text] += 1
            name = hashlib.sha256(f"{text}\n{seen[text]}".encode()).hexdigest()[:16]
            line: int = place.node.lineno  # type: ignore[attr-defined]
            code = lines[line - 1].strip()
            found.append(Mutant(name, file, line, code, operator, before, after, place, new, tree))
    return found


def _functions(node: ast.AST, outer: str) -> Iterator[tuple[str, str]]:
    """Yield the qualified name and the code of every function below a node, without what its docstring says."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name = f"{outer}.{child.name}".lstrip(".")
            if isinstance(child, ast.FunctionDef):
                body = child.body[ast.get_docstring(child) is not None :]
                yield name, "\n".join(map(ast.unparse, [child.args, *body]))
            yield from _functions(child, name)


def _shown(node: ast.AST) -> str:
    """The code of a node; of an `if`, its condition."""
    return f"if {ast.unparse(node.test)}:" if isinstance(node, ast.If) else ast.unparse(node)


def _places(node: ast.AST, function: str, lines: tuple[int, int], in_function: bool = False) -> Iterator[Place]:
    """Yield every node below this one that may change."""
    in_function = in_function or isinstance(node, ast.FunctionDef)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_left_alone(node, child):
                continue
            inside, seen = function, lines
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inside = f"{function}.{child.name}".lstrip(".")
            if isinstance(child, ast.FunctionDef):
                seen = child.lineno, child.end_lineno or child.lineno
            elif isinstance(child, ast.stmt) and not isinstance(child, ast.ClassDef):
                seen = _own_lines(child) if in_function else lines
            yield Place(node, field, index, child, inside, seen)
            if not isinstance(child, _UNCHANGED):
                yield from _places(child, inside, seen, in_function)


def _own_lines(statement: ast.stmt) -> tuple[int, int]:
    """The lines of a statement without those of the statements inside."""
    body = getattr(statement, "body", None)
    last = statement.end_lineno or statement.lineno
    return statement.lineno, max(statement.lineno, body[0].lineno - 1) if body else last


def _is_left_alone(parent: ast.AST, node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name == "__repr__"
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)  # a docstring, or the dots of a protocol
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(parent, ast.Module) and isinstance(node, ast.Assign | ast.AnnAssign):
        names = [ast.unparse(t) for t in (node.targets if isinstance(node, ast.Assign) else [node.target])]
        return any(name == "__all__" for name in names) or isinstance(node.value, ast.BinOp | ast.Subscript)  # aliases
    return False


def _replacements(node: ast.AST) -> Iterator[Replacement]:
    """Yield what may stand in a node's place."""
    make = _MAKERS.get(type(node))
    if make is not None:
        yield from make(node)


def _binary(node: ast.BinOp) -> Iterator[Replacement]:
    left, op, right = node.left, node.op, node.right
    if type(op) in _OTHER:
        yield "other operator", ast.BinOp(left, _OTHER[type(op)](), right)
    if isinstance(op, ast.Sub | ast.Div | ast.MatMult | ast.Pow | ast.FloorDiv):
        yield "operands swapped", ast.BinOp(right, op, left)
    if isinstance(op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        yield "right term dropped", left
        yield "left term dropped", right


def _unary(node: ast.UnaryOp) -> Iterator[Replacement]:
    if isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield "sign dropped", node.operand


def _compare(node: ast.Compare) -> Iterator[Replacement]:
    for table, name in ((_NEGATED, "comparison negated"), (_BOUNDARY, "boundary moved")):
        for k, op in enumerate(node.ops):
            if type(op) in table and (table is _BOUNDARY or k == 0):
                ops = [*node.ops[:k], table[type(op)](), *node.ops[k + 1 :]]
                yield name, ast.Compare(node.left, ops, node.comparators)


def _boolean(node: ast.BoolOp) -> Iterator[Replacement]:
    yield "and for or", ast.BoolOp(_OTHER[type(node.op)](), node.values)
    for k in range(len(node.values)):
        rest = node.values[:k] + node.values[k + 1 :]
        yield "condition dropped", ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]


def _constant(node: ast.Constant) -> Iterator[Replacement]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield "constant", ast.Constant(value + 1 if value < 2 else value - 1)
    elif isinstance(value, float):
        yield "constant", ast.Constant(2 * value if value else 1.0)


def _augmented(node: ast.AugAssign) -> Iterator[Replacement]:
    if type(node.op) in _OTHER:
        yield "other operator", ast.AugAssign(node.target, _OTHER[type(node.op)](), node.value)
    yield "statement removed", ast.Pass()


def _assignment(node: ast.Assign) -> Iterator[Replacement]:
    if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
        yield "statement removed", ast.Pass()


def _statement(node: ast.Expr | ast.Raise | ast.Break | ast.Continue) -> Iterator[Replacement]:
    if not isinstance(getattr(node, "value", None), ast.Yield | ast.YieldFrom):
        yield "statement removed", ast.Pass()


def _condition(node: ast.If | ast.While) -> Iterator[Replacement]:
    if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
        kind, rest = type(node), node.orelse
        yield "condition negated", kind(ast.UnaryOp(ast.Not(), node.test), node.body, rest)  # type: ignore[call-arg]


def _choice(node: ast.IfExp) -> Iterator[Replacement]:
    yield "branches swapped", ast.IfExp(node.test, node.orelse, node.body)


def _call(node: ast.Call) -> Iterator[Replacement]:
    is_method = isinstance(node.func, ast.Attribute)
    name: str = getattr(node.func, "attr" if is_method else "id", "")
    if is_method and name in _OTHER_CALL:
        other: ast.expr = ast.Attribute(node.func.value, _OTHER_CALL[name], ast.Load())
        yield "other function", ast.Call(other, node.args, node.keywords)
    elif name in _NAMED_CALLS:
        other = ast.Name(_OTHER_CALL[name], ast.Load())
        yield "other function", ast.Call(other, node.args, node.keywords)
    if name in _ORDERED_CALLS and len(node.args) >= 2:
        yield "operands swapped", ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    if name in ("reversed", "sorted", "sigmoid") and node.args:
        yield "call dropped", node.args[0]


def _slice(node: ast.Slice) -> Iterator[Replacement]:
    if node.lower is not None:
        yield "lower end dropped", ast.Slice(None, node.upper, node.step)
    if node.upper is not None:
        yield "upper end dropped", ast.Slice(node.lower, None, node.step)


_MAKERS = {
    ast.BinOp: _binary, ast.UnaryOp: _unary, ast.Compare: _compare, ast.BoolOp: _boolean, ast.Constant: _constant,
    ast.AugAssign: _augmented, ast.Assign: _assignment, ast.Expr: _statement, ast.Raise: _statement,
    ast.Break: _statement, ast.Continue: _statement, ast.If: _condition, ast.While: _condition, ast.IfExp: _choice,
    ast.Call: _call, ast.Slice: _slice,
}  # fmt: skip
