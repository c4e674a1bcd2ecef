"""What a pickle would build, found without building it: its instructions are followed, nothing in it is called.

A hundred bytes of pickle can ask for all memory, for values that contain themselves, or for a key whose hash takes for
ever. Such a file is refused here by its instructions, whatever reads it afterwards.
"""

import pickle
import pickletools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastreid_ext.foreign_files import shown

__all__ = ["Machine", "Value", "check_key", "refuse"]

MOST_VALUES = 10_000_000  # of all lists and dicts, each counted as often as it occurs
MOST_INSTRUCTIONS = 5_000_000  # a ResNet and its optimiser have a hundred thousand; each takes 200 bytes here
DEEPEST = 200


@dataclass(eq=False)
class Value:
    """A value as the instructions would build it.

    Attributes:
        kind: "atom", "tuple", "list", "dict", "global" or what a call makes.
        value: of an atom; the name of a global; what a call has to remember.
        items: the values in it, of a dict keys and values in turn.
    """

    kind: str
    value: Any = None
    items: Sequence["Value"] = ()


def refuse(what: str) -> None:
    """Raise what torch's own reader raises for a file that it does not want."""
    raise pickle.UnpicklingError(what)


class Machine:
    """Follows pickle's instructions, those that protocol 2 writes.

    Args:
        names: whether a file may use a global, such as "torch FloatStorage".
        calls: name of a global that may be called -> the value that it makes of these arguments.
        build: (state, target) of pickle's BUILD; refuses what it does not know.
        storage: the value of a persistent identity.

    Raises, in :meth:`run`:
        pickle.UnpicklingError: an instruction, name or call that is not among these, or too much.
        EOFError, IndexError, KeyError, ValueError: a damaged pickle.
    """

    def __init__(
        self,
        names: Callable[[str], bool],
        calls: Mapping[str, Callable[[Sequence[Value]], Value]],
        build: Callable[[Value, Value], None],
        storage: Callable[[Value], Value],
    ):
        self.names, self.calls, self.build_state, self.find_storage = names, calls, build, storage
        self.stack: list[Value] = []
        self.marked: list[list[Value]] = []
        self.memo: dict[int, Value] = {}

    def run(self, file: Any) -> Value:
        """Return the value that the instructions up to the next STOP build."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if opcode.name in ATOMS:
                self.stack.append(Value("atom", ATOMS[opcode.name](argument)))
            elif opcode.name in INSTRUCTIONS:
                INSTRUCTIONS[opcode.name](self, argument)
            elif opcode.name not in ("PROTO", "STOP"):
                refuse(f"the instruction {opcode.name}, which torch does not write")
            if number > MOST_INSTRUCTIONS:
                refuse("more instructions than a file of weights has")
        value = self.stack.pop()
        if self.stack or self.marked:
            refuse("instructions that leave something over")
        check_extent(value)
        return value

    # ---- stack and containers

    def mark(self, _: Any) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Value]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def make_tuple(self, count: int | None) -> None:
        if count is None:
            items = self.since_mark()
        else:
            items = self.stack[len(self.stack) - count :]
            if len(items) < count:
                refuse("a tuple of more than there is")
            del self.stack[len(self.stack) - count :]
        self.stack.append(Value("tuple", None, items))

    def extend(self, items: list[Value]) -> None:
        if self.stack[-1].kind != "list":
            refuse("an element of something that is no list")
        self.stack[-1].items += items

    def set_items(self, items: list[Value]) -> None:
        if self.stack[-1].kind != "dict" or len(items) % 2:
            refuse("an entry of something that is no dict")
        for key in items[::2]:
            check_key(key)
        self.stack[-1].items += items

    def recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def name(self, argument: str) -> None:
        if not self.names(argument):
            refuse(f"the name {shown(argument.replace(' ', '.'))}, which no file of weights needs")
        self.stack.append(Value("global", argument))

    def storage(self, _: Any) -> None:
        self.stack.append(self.find_storage(self.stack.pop()))

    def call(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if function.kind != "global" or function.value not in self.calls or arguments.kind != "tuple":
            refuse(f"a call of {shown(function.value)}")
        self.stack.append(self.calls[function.value](arguments.items))

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        self.build_state(state, self.stack[-1])


# Instruction -> the plain value that it puts on the stack, of its argument.
ATOMS: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"), lambda given: given
    ),
}
INSTRUCTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": Machine.mark,
    "TUPLE": lambda machine, _: machine.make_tuple(None),
    "EMPTY_TUPLE": lambda machine, _: machine.make_tuple(0),
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "EMPTY_LIST": lambda machine, _: machine.stack.append(Value("list", None, [])),
    "EMPTY_DICT": lambda machine, _: machine.stack.append(Value("dict", None, [])),
    "EMPTY_SET": lambda machine, _: machine.stack.append(Value("set", None, ())),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "BINGET": Machine.recall,
    "LONG_BINGET": Machine.recall,
    "BINPUT": Machine.remember,
    "LONG_BINPUT": Machine.remember,
    "GLOBAL": Machine.name,
    "REDUCE": Machine.call,
    "BUILD": Machine.build,
    "BINPERSID": Machine.storage,
}


def check_key(key: Value) -> None:
    """Check that a key of a dict is a plain value, or a few in a tuple: to hash others may take for ever."""
    few = key.kind == "tuple" and len(key.items) <= 8 and all(item.kind == "atom" for item in key.items)
    if key.kind != "atom" and not few:
        refuse("a key that is no plain value")


def check_extent(value: Value) -> None:
    """Check that a value does not contain itself, nor a few values so often that to go through it would never end."""
    counts: dict[int, int] = {}
    open_ones: set[int] = set()
    pending = [(value, False)]
    while pending:
        one, counted = pending.pop()
        if counted:
            open_ones.discard(id(one))
            counts[id(one)] = 1 + sum(counts[id(item)] for item in one.items)
            if counts[id(one)] > MOST_VALUES:
                refuse("more values than a file of weights has")
        elif id(one) not in counts:
            if id(one) in open_ones or len(open_ones) > DEEPEST:
                refuse("values in themselves, or nested too deeply")
            open_ones.add(id(one))
            pending.append((one, True))
            pending += [(item, False) for item in one.items]
