"""The Python source of a bound projection: match, filter, key and values in straight lines.

`write_function` writes one function of an image. What it looks like, for a view with one capture and two fields::

    def rows(image):
        try:
            a1 = image.a3
            t2 = None if a1 is None else a1.S
            ...
            while True:
                if t2 is not None and t2.startswith('ORDER#'):
                    c4 = t2[6:]
                    if c4: break
                return []
            ...
            return [(key, (v5, v6))]
        except EXPECTED as error:
            raise FAILED(error) from None
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dynaview.projections.attributes import Shape, number, value
from dynaview.projections.compiler import runtime as rowtools
from dynaview.projections.compiler.analysis import FieldPlan, Plan
from dynaview.projections.compiler.codegen import Code, Module
from dynaview.projections.compiler.jmespath import RUNTIME, Scope, Translation
from dynaview.projections.compiler.scopes import ElementScope, ItemScope
from dynaview.projections.conversions import KEPT, NATURAL, converter, expire_seconds, natural
from dynaview.projections.expressions import ITEM, leading_path
from dynaview.projections.patterns import ESCAPE, Pattern, Template, escape
from dynaview.projections.rows import EXPIRE, SCORE, RedisOptions

CALLED: Mapping[str, Any] = {
    **RUNTIME,
    "EXPECTED": rowtools.EXPECTED,
    "elements": rowtools.elements,
    "escape": escape,
    "key_part": rowtools.key_part,
    "key_text": rowtools.key_text,
    "key_value": rowtools.key_value,
    "known_names": rowtools.known_names,
    "missing": rowtools.missing,
    "number": number,
    "open_fields": rowtools.open_fields,
    "twice": rowtools.twice,
    "value": value,
    "with_captures": rowtools.with_captures,
    "with_expire": rowtools.with_expire,
}
"""What generated functions call by name; the module adds FAILED, CALL and UNPACK."""

_HASHABLE = frozenset({"text", "integer", "bigint", "decimal", "double", "boolean", "timestamp", "date", "binary"})


def write_function(
    module: Module, name: str, plan: Plan, shape: Shape, *, values: bool, where: bool = True, call: bool = True
) -> None:
    """Write function `name` of an image of `shape` into `module`.

    It answers a list of (row key, row values), or of row keys alone where not `values`; empty where the item is not
    the view's. Without `where` the filter is left out; without `call` a Python function is not called, and its only row
    key (made from captures alone) is taken as yielded.
    """
    with _body_of(module, name) as body:
        _RowWriter(module, body, plan, shape, values).write(where, call)


def write_flat_function(module: Module, name: str, plan: Plan, shape: Shape) -> None:
    """Write function `name` of an image of `shape` into `module`, for a view that makes one row an item and declares
    its fields.

    It answers the row as one tuple, the row key and behind it the values; None where the item does not match, False
    where the filter leaves it out.
    """
    with _body_of(module, name) as body:
        _RowWriter(module, body, plan, shape, values=True, flat=True).write(where=True, call=True)


@contextmanager
def _body_of(module: Module, name: str) -> Iterator[Code]:
    body = module.function(name, "image")
    with module.working_for("match"):
        body.line("try:")
        inner = Code(module, body.depth + 1)
        body.add(inner)
        yield inner
        body.line("except EXPECTED as error: raise FAILED(error) from None")


class _RowWriter:
    """Writes the body of one function."""

    def __init__(
        self, module: Module, code: Code, plan: Plan, shape: Shape, values: bool, *, flat: bool = False
    ) -> None:
        self.module = module
        self.code = code
        self.plan = plan
        self.values = values
        self.flat = flat
        self.captures = {name: module.fresh("c") for name in plan.captures}
        self.item = ItemScope(code, shape, self.captures)
        self.fields: dict[str, str] = {}
        self.scope: Scope = self.item
        """What the names in keys mean."""
        self.field_scope: Scope = self.item
        """What the names in fields mean: beside a Python function first what it returned, then the captures."""
        self.returned = self.merged = ""
        """Variables with the dict that a Python projection returned, as it is and with the captures beneath."""

    def write(self, where: bool, call: bool) -> None:
        """Write it all."""
        if self.plan.alternatives:
            self._match()
        if where and self.plan.where is not None:
            with self._stage("where"):
                test = self._translation().test(self.plan.where.tree, self.item)
                self.code.line(f"if not {test}: return {'False' if self.flat else '[]'}")
        if self.plan.view.function is not None and call:
            self._python_rows()
        elif self.plan.each is not None:
            self._element_rows()
        else:
            with self._stage("key"):
                row = self._row()
                self.code.line(f"return {row}" if self.flat else f"return [{row}]")

    def _stage(self, place: str) -> Any:
        self.item.stage(self.code)
        return self.module.working_for(place)

    def _translation(self) -> Translation:
        return Translation(self.module, self.code)

    # match

    def _match(self) -> None:
        texts = {attribute: self._key_text(attribute) for attribute in sorted(self.plan.matched)}
        with self.code.block("while True"):
            for alternative in self.plan.alternatives:
                self._alternative(alternative, texts)
            self.code.line(f"return {None if self.flat else '[]'}")

    def _key_text(self, attribute: str) -> str:
        attr = self.item.attribute((attribute,))
        text = self.code.assign(f"None if {attr} is None else {attr}.S")
        self.code.line(f"if {text} is None: {text} = key_text({attr})")
        return text

    def _alternative(self, alternative: Mapping[str, Pattern], texts: Mapping[str, str]) -> None:
        depth = self.code.depth
        held: set[str] = set()
        for attribute, pattern in alternative.items():
            self._pattern(pattern, texts[attribute], held)
        for capture in self.captures:
            if capture not in held:
                self.code.line(f"{self.captures[capture]} = None")
        self.code.line("break")
        self.code.depth = depth

    def _if(self, condition: str) -> None:
        self.code.line(f"if {condition}:")
        self.code.depth += 1

    def _pattern(self, pattern: Pattern, text: str, held: set[str]) -> None:
        """Descend into as many ifs as it takes; `held` are the captures that this alternative has filled."""
        first, *others = pattern.literals
        if not others:
            self._if(f"{text} == {first!a}")
            return
        if first:
            self._if(f"{text} is not None and {text}.startswith({first!a})")
            text = self.code.assign(f"{text}[{len(first)}:]")
        else:
            self._if(f"{text} is not None")
        for capture, literal in zip(pattern.captures, others, strict=True):
            if literal:
                part, separator, rest = self.module.fresh("t"), self.module.fresh("t"), self.module.fresh("t")
                self.code.line(f"{part}, {separator}, {rest} = {text}.partition({literal!a})")
                self._if(f"{part} and {separator}")
            else:
                part, rest = text, ""
                self._if(part)
            self._capture(capture, part, held)
            text = rest
        if text:
            self._if(f"not {text}")

    def _capture(self, capture: str, part: str, held: set[str]) -> None:
        if capture in held:
            self._if(f"{part} == {self.captures[capture]}")
        else:
            held.add(capture)
            self.code.line(f"{self.captures[capture]} = {part}")

    # more than one row

    def _element_rows(self) -> None:
        assert self.plan.each is not None
        with self._stage("each"):
            yielded = self._translation().variable(self.plan.each.tree, self.item)
            index, name, element = (self.module.fresh("e") for _ in range(3))
            self.item.stage(self.code)
            self.code.line("found = {}")
            with self.code.block(f"for {index}, {name}, {element} in elements({yielded})"):
                scope = ElementScope(self.code, self.item, self.captures, element)
                scope.reserve(index, name)
                self.scope = self.field_scope = scope
                self._collect()
            self.code.line(f"return {'[*found.items()]' if self.values else '[*found]'}")

    def _python_rows(self) -> None:
        with self._stage("python"):
            item = self.item.whole()
            captured = ", ".join(f"{capture!a}: {variable}" for capture, variable in self.captures.items())
            captures, returned = self.module.fresh("e"), self.module.fresh("e")
            self.item.stage(self.code)
            self.code.line("found = {}")
            self.code.line(f"{captures} = {{{captured}}}")
            with self.code.block(f"for {returned} in CALL(with_captures({item}, {captures}))"):
                if self.plan.fields is not None:
                    self.code.line(f"known_names({returned}, {self.module.constant(self.plan.returned_names)})")
                self.scope = ElementScope(self.code, self.item, self.captures, returned)
                merged = self.code.assign(f"with_captures({returned}, {captures})", "e")
                self.field_scope = ElementScope(self.code, self.item, {}, merged)
                self.returned = returned
                self.merged = merged
                self._collect()
            self.code.line(f"return {'[*found.items()]' if self.values else '[*found]'}")

    def _collect(self) -> None:
        with self.module.working_for("key"):
            key = self._key()
            key = self.code.assign(key, "k")
            self.code.line(f"if {key} in found: raise twice({key})")
        self.code.line(f"found[{key}] = {self._values() if self.values else None}")

    # one row

    def _row(self) -> str:
        key = self._key()
        if self.flat:
            return f"({', '.join([key, *self._variables()])},)"
        return f"({key}, {self._values()})" if self.values else key

    def _key(self) -> str:
        if self.plan.columns:
            columns = [self._column(name) for name in self.plan.columns]
            return f"({', '.join(columns)},)"
        parts = []
        for place, template in self.plan.templates:
            with self.module.working_for(place):
                parts.append(self._template(template))
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"

    def _column(self, name: str) -> str:
        assert self.plan.fields is not None
        plan = self.plan.fields[name]
        variable = self._field(plan)
        with self.module.working_for(plan.place):
            if plan.type not in _HASHABLE:
                self.code.line(f"{variable} = key_value({variable}, {name!a})")
            else:
                self.code.line(f"if {variable} is None: raise missing(', but part of the key')")
        return variable

    def _template(self, template: Template) -> str:
        written = [ascii(template.literals[0])] if template.literals[0] else []
        for name, separator, literal in zip(template.names, template.escapes, template.literals[1:], strict=True):
            part = self._part(name)
            if separator:
                escaped = self.code.assign(part, "p")
                test = f"{ESCAPE!a} in {escaped} or {separator!a} in {escaped}"
                self.code.line(f"if {test}: {escaped} = escape({escaped}, {separator!a})")
                part = escaped
            written += [part, ascii(literal)] if literal else [part]
        return " + ".join(written)

    def _part(self, name: str) -> str:
        if name in self.captures:
            variable = self.captures[name]
            if name in self.plan.always_captured:
                return variable
        elif self.plan.fields is not None and name in self.plan.fields:
            variable = self._field(self.plan.fields[name])
        else:
            variable = self._translation().variable_at((name,), self.scope)
        return self.code.assign(
            f"{variable} if {variable} and {variable}.__class__ is str else key_part({variable}, {name!a})", "p"
        )

    def _values(self) -> str:
        layout = self.plan.view.layout
        if layout.fields is None:
            if isinstance(layout.options, RedisOptions) and layout.options.expire_field:
                return f"with_expire(open_fields({self.returned}), {self._expire()})"
            return f"open_fields({self.returned})"
        variables = self._variables()
        return f"({', '.join(variables)}{',' * (len(variables) == 1)})"

    def _variables(self) -> list[str]:
        return [self._layout_field(field.name) for field in self.plan.view.layout.fields or ()]

    def _layout_field(self, name: str) -> str:
        if name == EXPIRE:
            return self._expire()
        if name == SCORE and self.plan.score is not None:
            return self._computed(self.plan.score, converter("double"), required=True)
        assert self.plan.fields is not None
        return self._field(self.plan.fields[name])

    def _expire(self) -> str:
        if self.plan.expire is None:
            return "None"
        unit = self.plan.expire.unit
        return self._computed(self.plan.expire, lambda moment: expire_seconds(moment, unit), required=False)

    def _computed(self, plan: FieldPlan, convert: Callable[[Any], Any], *, required: bool) -> str:
        """A score or an expiry. Beside a Python function it may also read the item's attributes, after all others."""
        with self.module.working_for(plan.place):
            scope = self.field_scope
            if self.returned:
                everything = self.code.assign(f"{{**{self.item.whole()}, **{self.merged}}}")
                scope = ElementScope(self.code, self.item, {}, everything)
            variable = self.code.assign(self._translation().value(plan.expression.tree, scope))
            self.code.line(
                f"{variable} = {self.module.constant(plan.default)} if {variable} is None "
                f"else {self.module.constant(convert)}({variable})"
            )
            if required or plan.required:
                self.code.line(f"if {variable} is None: raise missing('')")
        return variable

    def _field(self, plan: FieldPlan) -> str:
        if plan.name not in self.fields:
            with self.module.working_for(plan.place):
                self.fields[plan.name] = self._new_field(plan)
        return self.fields[plan.name]

    def _new_field(self, plan: FieldPlan) -> str:
        field = self._direct_field(plan) or self._converted_field(plan)
        if plan.default is not None:
            self.code.line(f"if {field} is None: {field} = {self.module.constant(plan.default)}")
        elif plan.required:
            self.code.line(f"if {field} is None: raise missing(', but required')")
        return field

    def _direct_field(self, plan: FieldPlan) -> str:
        """A field that takes a capture or an attribute as it stands, in one step where the attribute is of the type
        that is written most; empty where the expression does more, or other code has decoded the attribute already."""
        leading = leading_path(plan.expression.tree)
        if leading is None or leading[1] or leading[0][0] == ITEM or self.field_scope is not self.item:
            return ""
        path = leading[0]
        if path[0] in self.captures:
            whole = len(path) == 1 and plan.type == "text"
            return self.code.assign(self.captures[path[0]], "f") if whole else ""
        read = _DIRECT.get(plan.type)
        if read is None or self.item.knows(path):
            return ""
        attribute = self.item.attribute(path)
        other = self.module.constant(_slowly(converter(plan.type, plan.unit)))
        return self.code.assign(read.format(a=attribute, n=self.module.fresh("n"), other=other), "f")

    def _converted_field(self, plan: FieldPlan) -> str:
        source = self._translation().value(plan.expression.tree, self.field_scope)
        field = self.code.assign(source, "f")
        if plan.type in NATURAL:
            if self.returned:
                self.code.line(f"{field} = {self.module.constant(natural)}({field})")
        else:
            convert = self.module.constant(converter(plan.type, plan.unit))
            kept = KEPT.get(plan.type)
            if kept is None:
                self.code.line(f"if {field} is not None: {field} = {convert}({field})")
            else:
                test = f"{field} is not None and {field}.__class__ is not {kept.__name__}"
                self.code.line(f"if {test}: {field} = {convert}({field})")
        return field


_DIRECT: Mapping[str, str] = {
    "text": "{a}.S if {a} is not None and {a}.S is not None else {other}({a})",
    "boolean": "{a}.BOOL if {a} is not None and {a}.BOOL is not None else {other}({a})",
    "decimal": "number({a}.N) if {a} is not None and {a}.N is not None else {other}({a})",
    "integer": "int({n}) if {a} is not None and ({n} := {a}.N) and len({n}) < 10 and {n}.isdecimal() else {other}({a})",
    "bigint": "int({n}) if {a} is not None and ({n} := {a}.N) and len({n}) < 19 and {n}.isdecimal() else {other}({a})",
}
"""How a field of a type is read from attribute `a` (or None); `other` does it for any attribute."""


def _slowly(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The field's value from an attribute of whatever type, or from None."""

    def read(attribute: Any) -> Any:
        found = None if attribute is None else value(attribute)
        return None if found is None else convert(found)

    return read
