"""DynamoDB attribute values: how they arrive, and which Python values they become.

An item arrives as DynamoDB JSON (``{"total": {"N": "12.50"}}``) from streams, scans, exports and Lambda events
alike. `Attr` is one attribute value of it, and an *image* is the whole item in the form that msgspec can read
straight from the page: only the attributes that some view asks for, still undecoded. `value` turns an `Attr` into
the exact Python value; generated code calls it only for what it uses.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow, Underflow
from typing import Any, TypeAlias

import msgspec

from dynaview.projections.canonical import canonical_number, number_text

Value: TypeAlias = "bool | Decimal | str | bytes | list[Value] | dict[str, Value] | None"
"""What an attribute is in Python: NULL is None, N an exact Decimal, B bytes, L and every set a list (sets sorted),
M a dict sorted by name. Functions of JMESPath expressions may also yield int and float."""

Image: TypeAlias = Any
"""One item as decoded by a `Shape`: a struct made for the needed attributes, or a dict of all `Attr`s."""

_DIGITS = 38
"""Significant digits of a DynamoDB number at the most."""

_EXACT = Context(prec=_DIGITS, Emax=125, Emin=-130 - 38, traps=[Inexact, InvalidOperation, Overflow, Underflow])


class AttributeValueError(ValueError):
    """An attribute value is of a type that DynamoDB does not have, or does not hold what its type promises."""


class Attr(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One DynamoDB attribute value as the wire has it: exactly one of the fields is set.

    None is set where DynamoDB Local 3 writes an empty map into a stream as ``{}`` (AWS writes ``{"M": {}}``). A type
    that DynamoDB does not have is refused while decoding.
    """

    S: str | None = None
    N: str | None = None
    BOOL: bool | None = None
    M: dict[str, Attr] | None = None
    L: list[Attr] | None = None
    NULL: bool | None = None
    B: bytes | None = None
    SS: list[str] | None = None
    NS: list[str] | None = None
    BS: list[bytes] | None = None


def number(text: str) -> Decimal:
    """The exact number that DynamoDB wrote as `text` (up to 38 digits, 1E-130 to 9.9E+125).

    It has the form of `canonical_number`.

    Raises `AttributeValueError` for anything that DynamoDB would not have written.
    """
    # As DynamoDB writes nearly all: without a sign or an exponent, no zero at the end of a fraction. Such text is exact
    # and canonical as it stands.
    if len(text) <= _DIGITS and (text.isdecimal() or (text[-1:] != "0" and text.replace(".", "", 1).isdecimal())):
        return Decimal(text)
    return checked_number(text)


def checked_number(text: str) -> Decimal:
    """`number`, for text of any kind."""
    try:
        exact = _EXACT.create_decimal(text)
    except DecimalException as error:
        raise AttributeValueError(f"not a DynamoDB number: {text[:60]!r}") from error
    return canonical_number(exact)


def value(attr: Attr) -> Value:
    """Decode one attribute value exactly. Sets become sorted lists and maps are sorted by name, so that equal sets and
    maps are equal values, in whichever order they came."""
    if attr.S is not None:
        return attr.S
    if attr.N is not None:
        return number(attr.N)
    if attr.BOOL is not None:
        return attr.BOOL
    if attr.M is not None:
        return {name: value(attr.M[name]) for name in sorted(attr.M)}
    if attr.L is not None:
        return [value(inner) for inner in attr.L]
    if attr.NULL is not None:
        return None
    if attr.B is not None:
        return attr.B
    if attr.SS is not None:
        return [*sorted(attr.SS)]
    if attr.NS is not None:
        numbers: list[Value] = [*sorted(number(text) for text in attr.NS)]
        return numbers
    if attr.BS is not None:
        return [*sorted(attr.BS)]
    return {}


def attribute(plain: Any) -> Attr:
    """Encode a Python value as DynamoDB has it (the reverse of `value`; Python sets become DynamoDB sets)."""
    match plain:
        case None:
            return Attr(NULL=True)
        case bool():
            return Attr(BOOL=plain)
        case str():
            return Attr(S=plain)
        case int() | Decimal():
            return Attr(N=str(plain))
        case bytes() | bytearray():
            return Attr(B=bytes(plain))
        case Mapping():
            return Attr(M={name: attribute(inner) for name, inner in plain.items()})
        case set() | frozenset():
            return _attribute_set(plain)
        case list() | tuple():
            return Attr(L=[attribute(inner) for inner in plain])
    raise AttributeValueError(f"DynamoDB has no type for a Python {type(plain).__name__}")


def _attribute_set(plain: Iterable[Any]) -> Attr:
    members = sorted(plain)
    if members and all(isinstance(member, str) for member in members):
        return Attr(SS=members)
    if members and all(isinstance(member, bytes) for member in members):
        return Attr(BS=members)
    if members and all(isinstance(member, int | Decimal) for member in members):
        return Attr(NS=[str(member) for member in members])
    raise AttributeValueError("a DynamoDB set holds only text, only numbers or only bytes, and is never empty")


class Shape:
    """Which top-level attributes of a table's items are decoded, and how generated code reaches them.

    One shape serves all views that share a reader. `Shape(None)` keeps every attribute (a Python projection asks
    for the whole item); otherwise msgspec skips what is not named without building it.
    """

    __slots__ = ("_fields", "_inner", "_members", "_types", "before", "names", "type")

    def __init__(
        self,
        names: Iterable[str] | None,
        before: Iterable[str] | None = None,
        members: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        """`before` are the attributes that are read of an old image, some of `names`; None: all of them. `members` are
        attributes of which, where they are maps, no more than these members are read."""
        self.names: tuple[str, ...] | None = None if names is None else tuple(sorted(set(names)))
        self._fields: dict[str, str] = {}
        self._members: dict[str, dict[str, str]] = {}
        self._types: dict[str, Any] = {}
        self._inner: dict[str, Any] = {}
        """Of the attributes in `_members`, and of the maps in them."""
        self.type: Any = dict[str, Attr]
        if self.names is not None:
            self._fields = {name: f"a{index}" for index, name in enumerate(self.names)}
            for name, inner in (members or {}).items():
                self._members[name] = {member: f"m{index}" for index, member in enumerate(sorted(set(inner)))}
                self._types[name], self._inner[name] = _map_types(self._members[name])
            self.type = self._image()
        self.before: Shape = self if before is None or self.names is None else self._part(frozenset(before))
        """The shape of old images. Its fields are called as here, so that code for it can read a new image, too."""

    def _part(self, names: frozenset[str]) -> Shape:
        part = Shape(None)
        part.names = tuple(sorted(names))
        part._fields = {name: self._fields[name] for name in part.names}
        part._members, part._types, part._inner = self._members, self._types, self._inner
        part.type = part._image()
        return part

    def narrowed(self, types: Mapping[str, Any]) -> Any:
        """The type of images in which these attributes are of types that are read as an `Attr` is."""
        return self._image({**self._types, **types})

    def _image(self, types: Mapping[str, Any] | None = None) -> Any:
        types = self._types if types is None else types
        return msgspec.defstruct(
            "Image",
            [(field, types.get(name, Attr) | None, None) for name, field in self._fields.items()],
            rename={field: name for name, field in self._fields.items()},
            omit_defaults=True,
            gc=False,
        )

    def reference(self, image: str, name: str) -> str:
        """Python source that yields the `Attr` (or None) of attribute `name` in the image held by variable `image`."""
        if self.names is None:
            return f"{image}.get({name!r})"
        return f"{image}.{self._fields[name]}"

    def member(self, attribute: str, name: str, member: str) -> str:
        """Python source that yields the `Attr` (or None) of a member of attribute `name`, which is a map and is held by
        variable `attribute`."""
        inner = self._members.get(name)
        return f"{attribute}.M.get({member!a})" if inner is None else f"{attribute}.M.{inner[member]}"

    def get(self, image: Image, name: str) -> Attr | None:
        """The undecoded attribute `name` of `image`, or None where the item lacks it."""
        found: Attr | None = image.get(name) if self.names is None else getattr(image, self._fields[name])
        return found

    def pack(self, item: Mapping[str, Any]) -> Image:
        """An image of a plain Python item (tests, previews, Python callers)."""
        if self.names is None:
            return {name: attribute(plain) for name, plain in item.items()}
        known = {field: attribute(item[name]) for name, field in self._fields.items() if name in item}
        for name in self._members:
            if name in item:
                known[self._fields[name]] = self._packed_map(name, known[self._fields[name]])
        return self.type(**known)

    def _packed_map(self, name: str, attr: Attr) -> Attr:
        held = {field: getattr(attr, field) for field in Attr.__struct_fields__}
        if attr.M is not None:
            fields = self._members[name]
            held["M"] = self._inner[name](**{fields[member]: one for member, one in attr.M.items() if member in fields})
        packed: Attr = self._types[name](**held)
        return packed

    def unpack(self, image: Image) -> dict[str, Value]:
        """The plain Python item of `image`: every attribute that this shape keeps, decoded, sorted by name."""
        if self.names is None:
            return {name: value(image[name]) for name in sorted(image)}
        found = ((name, getattr(image, field)) for name, field in self._fields.items())
        return {name: self._unpacked(name, attr) for name, attr in found if attr is not None}

    def _unpacked(self, name: str, attr: Any) -> Value:
        if name not in self._members or attr.M is None:
            return value(attr)
        found = ((member, getattr(attr.M, field)) for member, field in self._members[name].items())
        return {member: value(one) for member, one in found if one is not None}


def _map_types(members: Mapping[str, str]) -> tuple[Any, Any]:
    """The type of attributes of which no more than some members are read, an `Attr` but for maps; and that of such
    maps, structs of these members."""
    inner = msgspec.defstruct(
        "Members",
        [(field, Attr | None, None) for field in members.values()],
        rename={field: member for member, field in members.items()},
        omit_defaults=True,
        gc=False,
    )
    outer = msgspec.defstruct(
        "MapAttr",
        [("M", inner | None, None)],
        bases=(Attr,),
        omit_defaults=True,
        forbid_unknown_fields=True,
        gc=False,
    )
    return outer, inner


def item_key(key: Mapping[str, Attr]) -> str:
    """The identity of an item as text: its key attributes with their types, so that two items never share one.

    Canonical: attributes sorted by name, numbers in `number_text` form, bytes in base64. Used for owners, dead
    letters and messages.
    """
    return msgspec.json.encode({name: _key_part(key[name]) for name in sorted(key)}).decode()


def _key_part(attr: Attr) -> dict[str, str]:
    if attr.S is not None:
        return {"S": attr.S}
    if attr.N is not None:
        return {"N": number_text(number(attr.N))}
    if attr.B is not None:
        return {"B": base64.b64encode(attr.B).decode()}
    raise AttributeValueError("a key attribute is text, a number or bytes")
