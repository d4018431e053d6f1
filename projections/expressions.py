"""JMESPath expressions: reading and checking them.

The grammar is the `jmespath` package's own: its lexer and parser do the work. Two things differ, and both are set
before anything runs: numbers in literals stay exact decimals, and what can be known to be wrong without an item
(unknown function, wrong number of arguments, a slice by zero) is refused while reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias

from jmespath.exceptions import EmptyExpressionError, IncompleteExpressionError, JMESPathError, LexerError, ParseError
from jmespath.lexer import Lexer
from jmespath.parser import ParsedResult, Parser

from dynaview.projections.attributes import AttributeValueError, number
from dynaview.projections.function_table import FUNCTIONS, no_such_function
from dynaview.projections.remedies import remedy

Node: TypeAlias = dict[str, Any]
"""A node of the jmespath package's tree: ``type``, ``children`` and, for some, ``value``."""

Path: TypeAlias = tuple[str, ...]
"""A dotted path from the item down: ``shipping.city`` is ``("shipping", "city")``."""

ITEM = "_item"
"""Names the whole item in every expression: ``_item.status`` is always the item's own attribute."""

ELEMENT, INDEX, NAME = "_element", "_index", "_key"
"""Beside ``each``: the element, its position in a list (from 0), its name in a map."""

_DEEPEST = 200
"""Levels of the tree, and below it of those that indent what is generated: Python has limits on both."""
_INDENTED = 50

_SHOWN = 40
_KEPT = 4096


class ExpressionError(ValueError):
    """Not a JMESPath expression. The text names the place; `position` counts characters from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression."""

    text: str
    tree: Node
    names: frozenset[str] | None
    """The top-level names it reads, reserved ones such as ``_item`` included; None where it reads the whole item
    (``@`` or ``*`` at the top)."""
    paths: frozenset[Path]
    """The same with the dotted rest, as far as it is known without an item: ``shipping.city``, ``lines``."""

    @property
    def name(self) -> str | None:
        """The name, where the expression is nothing but one."""
        return str(self.tree["value"]) if self.tree["type"] == "field" else None


@lru_cache(_KEPT)
def parse(text: str) -> Expression:
    """Read one expression, once: who checks and who compiles it share the tree. Raises `ExpressionError`."""
    try:
        # Not by `parse`: the package keeps a cache of its own for all parsers of the process.
        tree: Node = _ExactParser()._do_parse(text).parsed
        _check(tree, text)
        paths = frozenset(_paths(tree))
    except ExpressionError:
        raise
    except JMESPathError as error:
        raise _explained(text, error) from error
    except RecursionError as error:
        raise ExpressionError("wrong JMESPath: it is nested too deeply", 0) from error
    except ValueError as error:  # the lexer's int() of thousands of digits
        raise ExpressionError("wrong JMESPath: an index of too many digits", 0) from error
    return Expression(text, tree, None if () in paths else frozenset(path[0] for path in paths), paths)


# The package's type stubs leave out what a subclass needs, hence Any for both bases.
_Lexer: Any = Lexer
_Parser: Any = Parser


class _ExactLexer(_Lexer):  # type: ignore[misc]  # see _Lexer
    def _consume_literal(self) -> dict[str, Any]:
        start = self._position
        lexeme = self._consume_until("`").replace("\\`", "`")
        try:
            value = json.loads(lexeme, parse_float=_exact, parse_int=_exact, parse_constant=_refuse)
        except AttributeValueError as error:
            raise LexerError(
                lexer_position=start,
                lexer_value=lexeme,
                message="a number of more than 38 digits or out of DynamoDB's range",
            ) from error
        except ValueError:
            value = self._old_text(lexeme, start)
        return {"type": "literal", "value": value, "start": start, "end": self._position - start}

    @staticmethod
    def _old_text(lexeme: str, start: int) -> str:
        # JEP 12: text without quotes between backticks is deprecated in JMESPath but still read by the package.
        try:
            return str(json.loads(f'"{lexeme.lstrip()}"'))
        except ValueError as error:
            raise LexerError(lexer_position=start, lexer_value=lexeme, message="not JSON between backticks") from error


def _exact(text: str) -> Decimal | int:
    value = number(text)
    return int(value) if text.lstrip("-").isdigit() else value


def _refuse(text: str) -> Any:
    raise AttributeValueError(f"{text} is not a number of JSON")


class _ExactParser(_Parser):  # type: ignore[misc]  # see _Parser
    def _parse(self, expression: str) -> ParsedResult:
        self.tokenizer = _ExactLexer().tokenize(expression)
        self._tokens = list(self.tokenizer)
        self._index = 0
        tree = self._expression(binding_power=0)
        if self._current_token() != "eof":
            token = self._lookahead_token(0)
            raise ParseError(token["start"], token["value"], token["type"], "unexpected token")
        return ParsedResult(expression, tree)

    def _token_nud_quoted_identifier(self, token: dict[str, Any]) -> Node:
        # Most who write "ACTIVE" mean a text, so it is remembered.
        name: Node = super()._token_nud_quoted_identifier(token)
        return {**name, "quoted": True}

    def _token_led_lparen(self, left: Node) -> Node:
        start = self._lookahead_token(-2)["start"]
        call: Node = super()._token_led_lparen(left)
        return {**call, "position": start}


def _explained(text: str, error: JMESPathError) -> ExpressionError:
    if isinstance(error, EmptyExpressionError):
        return ExpressionError("wrong JMESPath: it is empty", 0)
    if isinstance(error, IncompleteExpressionError):
        return ExpressionError(f'wrong JMESPath: it ends too early, after "{text[-_SHOWN:]}"', len(text))
    if isinstance(error, LexerError):
        literal = text[error.lexer_position :][:1] == "`" and "nclosed" not in error.message
        meant = None if literal else remedy(text, error.lexer_position)
        return _misplaced(text, error.lexer_position, meant or str(error.message))
    if isinstance(error, ParseError):
        return _misplaced(text, error.lex_position, remedy(text, error.lex_position) or str(error.msg))
    return ExpressionError(f"wrong JMESPath: {error}", 0)


def _misplaced(text: str, position: int, reason: str) -> ExpressionError:
    reason = reason[:1].lower() + reason[1:]
    if position >= len(text):
        return ExpressionError(f'wrong JMESPath at its end, after "{text[-_SHOWN:]}": {reason}', len(text))
    shown = text[position : position + _SHOWN]
    return ExpressionError(f'wrong JMESPath at column {position + 1}, at "{shown}": {reason}', position)


def _check(node: Node, text: str, depth: int = 0, indented: int = 0) -> None:
    """Refuse what no item could make right."""
    kind, children = node["type"], node["children"]
    if depth > _DEEPEST or indented > _INDENTED:
        raise RecursionError
    if kind == "slice":
        if children[2] == 0:
            raise ExpressionError(f"wrong JMESPath: a slice by a step of 0 in {text!r}", 0)
        return
    if kind == "expref":
        raise ExpressionError("wrong JMESPath: & stands only before an argument such as sort_by's second", 0)
    if kind == "function_expression":
        _check_call(node, text)
    for index, child in enumerate(children):
        inner = child["children"][0] if child["type"] == "expref" and kind == "function_expression" else child
        deeper = kind.startswith("multi_select") or (index == 1 and kind in ("and_expression", "or_expression"))
        _check(inner, text, depth + 1, indented + deeper)


def _check_call(node: Node, text: str) -> None:
    name, arguments, position = node["value"], node["children"], node["position"]
    function = FUNCTIONS.get(name)
    if function is None:
        raise _misplaced(text, position, no_such_function(name))
    wanted = len(function.parameters)
    least = wanted - function.optional
    if len(arguments) < least or (len(arguments) > wanted and not function.variadic):
        count = f"at least {wanted}" if function.variadic else f"{least} or {wanted}" if function.optional else wanted
        raise _misplaced(
            text, position, f"{name}() takes {count} argument{'s' * (wanted != 1)}, found {len(arguments)}"
        )
    for index, argument in enumerate(arguments):
        reference = function.parameters[min(index, wanted - 1)] == "expref"
        if reference and argument["type"] != "expref":
            raise _misplaced(text, position, f"argument {index + 1} of {name}() is an expression and begins with &")
        if not reference and argument["type"] == "expref":
            raise _misplaced(text, position, f"argument {index + 1} of {name}() is a value and takes no &")


def _paths(node: Node) -> Iterator[Path]:
    """The dotted paths that `node` reads where the current value is the item; () for the whole item."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        yield (node["value"],)
    elif kind in ("current", "identity", "expref"):
        yield ()
    elif kind == "subexpression":
        path = leading_path(node)
        if path is not None:
            yield path[0]
        else:
            yield from _paths(children[0])
    elif kind in ("pipe", "index_expression", "projection", "value_projection", "filter_projection"):
        # Only the left side sees the item; what follows sees what the left side yields.
        yield from _paths(children[0])
    elif kind == "index":
        yield ()
    elif kind == "function_expression":
        for child in children:
            if child["type"] != "expref":
                yield from _paths(child)
    elif kind not in ("literal", "slice"):
        for child in children:
            yield from _paths(child)


def leading_path(node: Node) -> tuple[Path, list[Node]] | None:
    """Split ``a.b.length(@)`` into its path ``("a", "b")`` and the nodes after it; None without a leading name."""
    if node["type"] == "field":
        return (node["value"],), []
    if node["type"] != "subexpression":
        return None
    children = node["children"]
    first = children[0]
    if first["type"] in ("current", "identity"):
        path: Path = ()
        rest = children[1:]
    else:
        leading = leading_path(first)
        if leading is None:
            return None
        path, inner = leading
        rest = [*inner, *children[1:]]
    while rest and rest[0]["type"] == "field":
        path = (*path, rest[0]["value"])
        rest = rest[1:]
    return (path, rest) if path else None
