"""`--where EXPR`: a pandas query over the columns, and nothing but that.

Owns what an expression may say. It is parsed and every part of it must be on the list here before pandas sees it, so
that it can compare columns and run no code; what is not allowed is told in one line.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from typing import Any

from analyzer.errors import UsageError
from analyzer.flows.columns import BY_NAME, NAMES
from analyzer.flows.table import FlowTable

#: an expression longer than this is no question a person asked; it bounds the parser's recursion
MAX_LENGTH = 4_000

METHODS = frozenset(("isin", "isna", "isnull", "notna", "notnull", "between", "abs"))
TEXT_METHODS = frozenset(("contains", "startswith", "endswith", "match", "fullmatch", "lower", "upper", "len"))
_PLAIN = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.UAdd, ast.Compare),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Load, ast.List, ast.Tuple),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.keyword),
)
_CONSTANTS = (str, int, float, bool, type(None))
_SPOKEN = {"&": "and", "|": "or"}


def matching(table: FlowTable, rows: Sequence[int], text: str) -> list[int]:
    """The rows for which the expression `text` holds. Raises UsageError where it is wrong."""
    tree = parse(text)
    names = [name for name in NAMES if name in set(_names(tree))]
    from analyzer.dataframes import frame

    data = frame(table, rows, names)
    values = _Values(text)
    query = ast.unparse(values.visit(tree))
    for placeholder in values.given:
        query = query.replace(placeholder, "@" + placeholder)
    try:
        found: Any = data.eval(query, engine="python", local_dict=values.given, global_dict={})
        chosen = found.fillna(False).astype(bool).tolist() if _is_truth(found) else None
    except Exception as error:
        raise UsageError(f"--where: {_one_line(error)} in {text!r}") from None
    if chosen is None:
        raise UsageError(f"--where: {text!r} is not true or false for a flow; compare a column, as 'syn_count > 1'")
    return [row for row, belongs in zip(rows, chosen, strict=True) if belongs]


def _is_truth(found: Any) -> bool:
    """Whether an expression gave true or false a flow (object: a text column, in which some have no value)."""
    return str(getattr(found, "dtype", "")) in ("bool", "boolean", "object")


def parse(text: str) -> ast.Expression:
    """The expression as a tree in which everything is allowed. Raises UsageError."""
    if len(text) > MAX_LENGTH:
        raise UsageError(f"--where: an expression has at most {MAX_LENGTH} characters")
    try:
        tree = ast.parse(_spelt_out(text).strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise UsageError(f"--where: {text!r} cannot be read: {_syntax_words(text, error)}") from None
    _check(tree.body)
    return tree


def _spelt_out(text: str) -> str:
    """`&` and `|` as pandas' query takes them: `and` and `or`, binding as loosely as those do."""
    tokens = []
    for kind, word, *_ in tokenize.generate_tokens(io.StringIO(text).readline):
        tokens.append((tokenize.NAME, _SPOKEN[word]) if kind == tokenize.OP and word in _SPOKEN else (kind, word))
    return tokenize.untokenize(tokens)


def _syntax_words(text: str, error: Exception) -> str:
    if "@" in text:
        return "@ has no meaning here, only columns and values"
    if "`" in text:
        return "no column needs backticks"
    if not text.strip():
        return "it is empty"
    if "=" in text and "==" not in text:
        return "a comparison is written =="
    where = getattr(error, "offset", None)
    return f"it is wrong at character {where}" if where else _one_line(error)


def _check(node: ast.AST) -> None:
    """Raise UsageError at the first part that is not on the list."""
    if isinstance(node, ast.Constant):
        if not isinstance(node.value, _CONSTANTS):
            raise UsageError(f"--where: {ast.unparse(node)} is no value that a column has")
        return
    if isinstance(node, ast.Name):
        if node.id not in BY_NAME:
            raise UsageError(f"--where: there is no column {node.id!r}{near(node.id)}")
        return
    if isinstance(node, ast.Call):
        _check_call(node)
        return
    if isinstance(node, ast.Attribute):
        raise UsageError(f"--where: .{node.attr} is not known; a text column has .str.contains('…') and the like")
    if isinstance(node, ast.Compare):
        _check_words((node.left, *node.comparators))
    if not isinstance(node, _PLAIN):
        raise UsageError(f"--where: {_excerpt(node)} is more than comparing columns with values, which is all it does")
    if isinstance(node, ast.BinOp) and any(isinstance(side, ast.Constant) for side in (node.left, node.right)):
        for side in (node.left, node.right):
            if isinstance(side, ast.Constant) and isinstance(side.value, str):
                raise UsageError(f"--where: {_excerpt(node)} reckons with a text")
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.operator | ast.cmpop | ast.unaryop | ast.boolop) and not isinstance(child, _PLAIN):
            raise UsageError(f"--where: {_excerpt(node)} uses an operator that is not known here")
        _check(child)


def _check_words(parts: Sequence[ast.expr]) -> None:
    """Raise UsageError where a column with few words is compared with one it never has."""
    columns = [BY_NAME[part.id] for part in parts if isinstance(part, ast.Name) and part.id in BY_NAME]
    texts = [
        leaf.value
        for part in parts
        for leaf in (part.elts if isinstance(part, (ast.List, ast.Tuple)) else [part])
        if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
    ]
    for column in columns:
        if column.kind in ("int", "bool") and texts:
            raise UsageError(f"--where: {column.name} holds {column.kind} values, never {texts[0]!r}")
        for text in texts:
            if column.words and text not in column.words:
                raise UsageError(f"--where: {column.name} is never {text!r}; it is one of {', '.join(column.words)}")


def _check_call(node: ast.Call) -> None:
    """COLUMN.isin([...]), COLUMN.str.contains("...") and their kin, with values as arguments."""
    method = node.func
    if not isinstance(method, ast.Attribute):
        raise UsageError(f"--where: {_excerpt(node)} calls a function; only methods of columns can be called")
    owner = method.value
    if isinstance(owner, ast.Attribute) and owner.attr == "str":
        known, column = TEXT_METHODS, owner.value
    else:
        known, column = METHODS, owner
    if known is METHODS and isinstance(column, ast.Name):
        _check_words((column, *node.args))
    if method.attr not in known:
        raise UsageError(f"--where: .{method.attr}() is not known; there are {', '.join(sorted(known))}")
    if isinstance(column, ast.Call):
        _check_call(column)
    elif isinstance(column, ast.Name):
        _check(column)
    else:
        raise UsageError(f"--where: {_excerpt(node)}: .{method.attr}() belongs behind the name of a column")
    for value in (*node.args, *(keyword.value for keyword in node.keywords)):
        for part in ast.walk(value):
            if not isinstance(part, (ast.Constant, ast.List, ast.Tuple, ast.Load, ast.UnaryOp, ast.USub)):
                raise UsageError(f"--where: {_excerpt(node)}: .{method.attr}() takes plain values")


def near(name: str) -> str:
    """What to write instead of a name that no column has, as the rest of a sentence."""
    from difflib import get_close_matches

    of = [column.name for column in BY_NAME.values() if name in column.words]
    if of:
        return f', but {of[0]} has that value: {of[0]} == "{name}"'
    close = get_close_matches(name, NAMES, n=4, cutoff=0.5) or [other for other in NAMES if name and name in other][:4]
    if close:
        return f"; near it: {', '.join(close)}"
    return ""


def _names(tree: ast.AST) -> Iterator[str]:
    return (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def _excerpt(node: ast.AST) -> str:
    words = ast.unparse(node)
    return repr(words if len(words) <= 60 else words[:57] + "…")


def _one_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


class _Values(ast.NodeTransformer):
    """Numbers beside a column of times or spans become times and spans, so that nanoseconds can be compared."""

    def __init__(self, text: str) -> None:
        self.given: dict[str, Any] = {}
        self._prefix = "value_"
        while self._prefix in text:
            self._prefix += "_"

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        kinds = {
            BY_NAME[part.id].kind
            for part in (node.left, *node.comparators)
            if isinstance(part, ast.Name) and BY_NAME[part.id].kind in ("time", "span")
        }
        if len(kinds) == 1:
            kind = kinds.pop()
            node.left = self._timed(node.left, kind)
            node.comparators = [self._timed(part, kind) for part in node.comparators]
        return node

    def _timed(self, node: ast.expr, kind: str) -> ast.expr:
        if not isinstance(node, ast.Constant) or isinstance(node.value, bool) or node.value is None:
            return node
        import pandas

        given: Any = node.value
        value: Any
        try:
            if kind == "time":
                value = pandas.Timestamp(given)
                value = value.tz_localize("UTC") if value.tzinfo is None else value
            else:
                value = pandas.Timedelta(given)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"--where: {given!r} is no {kind}: {_one_line(error)}") from None
        placeholder = f"{self._prefix}{len(self.given)}_"
        self.given[placeholder] = value
        return ast.copy_location(ast.Name(placeholder, ast.Load()), node)
