"""From JMESPath's tree to Python source.

`Translation.value` writes what is needed before and answers a Python expression for the node's result, to be used
once and at once; `Translation.test` answers one that is true where JMESPath's result is. False in JMESPath are false,
null and empty text, lists and objects; numbers, 0 too, are true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Protocol

from dynaview.projections.compiler.codegen import DEEPEST, Code, Module
from dynaview.projections.expressions import Node, Path, leading_path
from dynaview.projections.function_table import FUNCTIONS

_LONGEST = 300
_BOOLEAN_FUNCTIONS = frozenset({"contains", "starts_with", "ends_with"})
_OPERATORS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _is_number(value: Any) -> bool:
    return isinstance(value, Decimal | int | float) and not isinstance(value, bool)


def _equal(left: Any, right: Any) -> bool:
    # As the package: Python takes 1 for True and 0 for False, JSON does not.
    if left.__class__ is bool or right.__class__ is bool:
        return left is right
    return bool(left == right)


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    def ordered(left: Any, right: Any) -> bool | None:
        # JMESPath orders numbers; the package text too. Any other pair is null.
        if (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
            return compare(left, right)
        return None

    return ordered


def _flatten(base: Any) -> list[Any] | None:
    if base.__class__ is not list:
        return None
    flat: list[Any] = []
    for element in base:
        if element.__class__ is list:
            flat.extend(element)
        else:
            flat.append(element)
    return flat


RUNTIME: Mapping[str, Any] = {
    "Decimal": Decimal,
    # Python's false values that JMESPath takes for true.
    "TRUE_ANYWAY": frozenset({int, Decimal, float, bytes}),
    "equal": _equal,
    "flatten": _flatten,
    "lt": _ordering(lambda left, right: left < right),
    "lte": _ordering(lambda left, right: left <= right),
    "gt": _ordering(lambda left, right: left > right),
    "gte": _ordering(lambda left, right: left >= right),
    **{f"F_{name}": function.call for name, function in FUNCTIONS.items()},
}
"""What generated code calls by name."""


class Scope(Protocol):
    """What names mean at one place of an expression."""

    never_null: bool

    def path(self, path: Path) -> tuple[str, Path]:
        """A variable for the beginning of a dotted path, and the rest that is to be looked up in it."""

    def whole(self) -> str:
        """A variable for the current value itself (``@``)."""


class Current:
    """The current value is in a variable."""

    never_null = False

    def __init__(self, variable: str) -> None:
        self.variable = variable

    def path(self, path: Path) -> tuple[str, Path]:
        """All of the path is looked up in the variable."""
        return self.variable, path

    def whole(self) -> str:
        """The variable."""
        return self.variable


def truth(variable: str) -> str:
    """Python source that tells whether JMESPath takes the value of `variable` for true."""
    return f"({variable} or {variable}.__class__ in TRUE_ANYWAY)"


class Translation:
    """Writes expressions into one body of code."""

    def __init__(self, module: Module, code: Code) -> None:
        self.module = module
        self.code = code

    def variable(self, node: Node, scope: Scope) -> str:
        """The node's result in a variable, which may be used many times."""
        return self._kept(self.value(node, scope))

    def variable_at(self, path: Path, scope: Scope) -> str:
        """What stands at a dotted path, in a variable."""
        return self._kept(self._look_up(path, scope))

    def value(self, node: Node, scope: Scope) -> str:
        """Python source for the node's result."""
        translate: Callable[[Node, Scope], str] = getattr(self, "_" + node["type"])
        return self._short(translate(node, scope))

    def test(self, node: Node, scope: Scope) -> str:
        """Python source that is true where JMESPath takes the node's result for true."""
        kind = node["type"]
        if kind == "comparator" or (kind == "function_expression" and node["value"] in _BOOLEAN_FUNCTIONS):
            return self.value(node, scope)
        if kind == "not_expression":
            return self._short(f"(not {self.test(node['children'][0], scope)})")
        if kind in ("and_expression", "or_expression"):
            return self._both(node, scope, kind == "and_expression")
        return truth(self.variable(node, scope))

    def _kept(self, expression: str) -> str:
        return expression if expression.isidentifier() else self.code.assign(expression)

    def _short(self, expression: str) -> str:
        # Python allows 200 brackets in each other.
        return expression if len(expression) <= _LONGEST else self.code.assign(expression)

    def _aside(self, write: Callable[[], str]) -> tuple[Code, str]:
        """Write one level deeper and aside; what was written, and the expression."""
        outer = self.code
        self.code = aside = Code(self.module, outer.depth + 1)
        expression = write()
        self.code = outer
        return aside, expression

    def _both(self, node: Node, scope: Scope, conjunction: bool) -> str:
        left, right = node["children"]
        first = self.test(left, scope)
        aside, second = self._aside(lambda: self.test(right, scope))
        if aside.empty:
            return self._short(f"({first} {'and' if conjunction else 'or'} {second})")
        result = self.code.assign(first)
        with self.code.block(f"if {result}" if conjunction else f"if not {result}"):
            self.code.add(aside)
            self.code.line(f"{result} = {second}")
        return result

    def _field(self, node: Node, scope: Scope) -> str:
        return self._look_up((node["value"],), scope)

    def _look_up(self, path: Path, scope: Scope) -> str:
        variable, rest = scope.path(path)
        for name in rest:
            variable = self._kept(variable)
            variable = f"({variable}.get({name!a}) if {variable}.__class__ is dict else None)"
        return variable

    def _subexpression(self, node: Node, scope: Scope) -> str:
        leading = leading_path(node)
        if leading is None:
            return self._chain(node["children"], scope)
        path, rest = leading
        found = self._look_up(path, scope)
        return self._chain(rest, Current(self._kept(found))) if rest else found

    def _chain(self, nodes: list[Node], scope: Scope) -> str:
        """Each node works on what the one before yields."""
        for node in nodes[:-1]:
            scope = Current(self.variable(node, scope))
        return self.value(nodes[-1], scope)

    def _pipe(self, node: Node, scope: Scope) -> str:
        return self._chain(node["children"], scope)

    def _index_expression(self, node: Node, scope: Scope) -> str:
        return self._chain(node["children"], scope)

    def _current(self, _node: Node, scope: Scope) -> str:
        return scope.whole()

    def _identity(self, _node: Node, scope: Scope) -> str:
        return scope.whole()

    def _literal(self, node: Node, _scope: Scope) -> str:
        return self.module.constant(node["value"])

    def _index(self, node: Node, scope: Scope) -> str:
        variable, index = scope.whole(), node["value"]
        least = index if index >= 0 else -index - 1
        return f"({variable}[{index}] if {variable}.__class__ is list and len({variable}) > {least} else None)"

    def _slice(self, node: Node, scope: Scope) -> str:
        variable = scope.whole()
        bounds = ":".join("" if bound is None else str(bound) for bound in node["children"])
        return f"({variable}[{bounds}] if {variable}.__class__ is list else None)"

    def _flatten(self, node: Node, scope: Scope) -> str:
        return f"flatten({self.value(node['children'][0], scope)})"

    def _comparator(self, node: Node, scope: Scope) -> str:
        left, right = node["children"]
        first, second = self.variable(left, scope), self.variable(right, scope)
        kind = node["value"]
        if kind in ("eq", "ne"):
            return self._equality(kind == "eq", (left, first), (right, second))
        if right["type"] == "literal" and _is_number(right["value"]):
            # Python has JMESPath's answer where the class is known to be a number.
            return (
                f"({first} {_OPERATORS[kind]} {second} if {first}.__class__ is Decimal else {kind}({first}, {second}))"
            )
        return f"{kind}({first}, {second})"

    @staticmethod
    def _equality(equal: bool, left: tuple[Node, str], right: tuple[Node, str]) -> str:
        (node, literal), (_, other) = (left, right) if left[0]["type"] == "literal" else (right, left)
        if node["type"] == "literal":
            value = node["value"]
            if value is None or isinstance(value, bool):
                return f"({other} is {'' if equal else 'not '}{literal})"
            if isinstance(value, str):
                return f"({other} {'==' if equal else '!='} {literal})"
        test = f"equal({left[1]}, {right[1]})"
        return test if equal else f"(not {test})"

    def _or_expression(self, node: Node, scope: Scope) -> str:
        return self._either(node, scope, "if not ")

    def _and_expression(self, node: Node, scope: Scope) -> str:
        return self._either(node, scope, "if ")

    def _either(self, node: Node, scope: Scope, condition: str) -> str:
        left, right = node["children"]
        result = self.code.assign(self.value(left, scope))
        with self.code.block(condition + truth(result)):
            self.code.line(f"{result} = {self.value(right, scope)}")
        return result

    def _not_expression(self, node: Node, scope: Scope) -> str:
        return self.test(node, scope)

    def _multi_select_list(self, node: Node, scope: Scope) -> str:
        return self._selection(scope, lambda: f"[{', '.join(self.value(child, scope) for child in node['children'])}]")

    def _multi_select_dict(self, node: Node, scope: Scope) -> str:
        def pairs() -> str:
            written = (f"{pair['value']!a}: {self.value(pair['children'][0], scope)}" for pair in node["children"])
            return f"{{{', '.join(written)}}}"

        return self._selection(scope, pairs)

    def _selection(self, scope: Scope, write: Callable[[], str]) -> str:
        if scope.never_null:
            return write()
        result = self.code.assign("None")
        with self.code.block(f"if {scope.whole()} is not None"):
            self.code.line(f"{result} = {write()}")
        return result

    def _key_val_pair(self, node: Node, scope: Scope) -> str:
        return self.value(node["children"][0], scope)

    def _projection(self, node: Node, scope: Scope) -> str:
        base, body = node["children"]
        return self._loop(self.variable(base, scope), "list", "", body, None)

    def _filter_projection(self, node: Node, scope: Scope) -> str:
        base, body, condition = node["children"]
        return self._loop(self.variable(base, scope), "list", "", body, condition)

    def _value_projection(self, node: Node, scope: Scope) -> str:
        base, body = node["children"]
        return self._loop(self.variable(base, scope), "dict", ".values()", body, None)

    def _loop(self, base: str, type_: str, of: str, body: Node, condition: Node | None) -> str:
        if body["type"] == "identity" and condition is None:
            return f"([e for e in {base}{of} if e is not None] if {base}.__class__ is {type_} else None)"
        result = self.code.assign("None")
        with self.code.block(f"if {base}.__class__ is {type_}"):
            self.code.line(f"{result} = []")
            element = self.module.fresh("e")
            with self.code.block(f"for {element} in {base}{of}"):
                self._element(Current(element), result, body, condition)
        return result

    def _element(self, scope: Current, result: str, body: Node, condition: Node | None) -> None:
        if condition is not None:
            self.code.line(f"if not {self._nested(condition, scope, test=True)}: continue")
        found = self._kept(self._nested(body, scope, test=False))
        self.code.line(f"if {found} is not None: {result}.append({found})")

    def _nested(self, node: Node, scope: Current, test: bool) -> str:
        """The node's result inside a loop; in a function of its own where loops are too deep for Python."""
        write = self.test if test else self.value
        if self.code.depth < DEEPEST:
            return write(node, scope)
        return f"{self._function(node, test)}({scope.variable})"

    def _function(self, node: Node, test: bool = False) -> str:
        name = self.module.fresh("f")
        code = self.module.function(name, "v")
        inner = Translation(self.module, code)
        write = inner.test if test else inner.value
        code.line(f"return {write(node, Current('v'))}")
        return name

    def _function_expression(self, node: Node, scope: Scope) -> str:
        arguments = (
            self._function(child["children"][0]) if child["type"] == "expref" else self.value(child, scope)
            for child in node["children"]
        )
        return f"F_{node['value']}({', '.join(arguments)})"


def translate_alone(node: Node, title: str) -> Callable[[Any], Any]:
    """A function of one plain JSON-like value that answers as ``jmespath.search`` does."""
    module = Module(constants=dict(RUNTIME))
    code = module.function("search", "v")
    code.line(f"return {Translation(module, code).value(node, Current('v'))}")
    return module.build(title).function("search")
