"""Commands: functions whose parameters are flags, or dataclasses whose fields are flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from vitdecomp._utils.notes import notes_on_stderr
from vitdecomp.cli.failure import errors_in_one_line
from vitdecomp.errors import InputError

F = TypeVar("F", bound=Callable[..., None])
HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="vitdecomp",
    help="Split the representation of any vision transformer into an exact sum of named contributions.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP,
)


class Alias(tuple[str, ...]):
    """Old spellings of a flag, in its annotation: they work, and help does not list them."""

    __slots__ = ()

    def __new__(cls, *names: str) -> Alias:
        """Take the spellings."""
        return super().__new__(cls, names)


def command(function: F) -> F:
    """Register a command.

    A parameter whose type is a dataclass stands for one flag per field. Its default, if it has one, gives the flags'
    defaults. A field or parameter of type `tuple[T, ...]` is a flag that may be repeated.
    """
    parameters = [*signature(function, eval_str=True).parameters.values()]
    groups: dict[str, Any] = {p.name: p.annotation for p in parameters if is_dataclass(p.annotation)}
    flags = {flag.name: flag for p in parameters for flag in _flags(p)}
    shown = [p for flag in flags.values() for p in flag.parameters()]

    def run(**given: Any) -> None:
        with errors_in_one_line(resumes="resume" in flags), notes_on_stderr():
            values = {name: flag.value(given) for name, flag in flags.items()}
            made = {
                name: group(**{field.name: values.pop(field.name) for field in fields(group)})
                for name, group in groups.items()
            }
            function(**values, **made)

    # Typer reads the flags from here.
    run.__signature__ = Signature(sorted(shown, key=lambda p: p.kind))  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in shown}
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    app.command(context_settings=HELP)(run)
    return function


@dataclass(frozen=True, slots=True)
class _Flag:
    """A flag with its old spellings.

    Attributes:
        name: of the parameter or field. kind: `Annotated`, as it is written there. default: none if it is `MISSING`.
    """

    name: str
    kind: Any
    default: Any
    position: Any = Parameter.KEYWORD_ONLY

    @property
    def repeated(self) -> bool:
        """Whether the value is a tuple."""
        return get_origin(get_args(self.kind)[0]) is tuple

    @property
    def aliases(self) -> dict[str, str]:
        """Old spellings by the names of their parameters."""
        found = [alias for alias in get_args(self.kind) if isinstance(alias, Alias)]
        return {f"{self.name}_{i}": old for i, old in enumerate(old for alias in found for old in alias)}

    def parameters(self) -> Iterator[Parameter]:
        """List the parameters that typer is to see: the flag itself, and one that is hidden for each old spelling."""
        kind, info, *_ = get_args(self.kind)
        if self.repeated:
            kind = list[get_args(kind)[0]] | None  # type: ignore[misc]
        default = Parameter.empty if self.default is MISSING else self.default
        default = None if self.repeated and not default else default
        yield Parameter(self.name, self.position, default=default, annotation=Annotated[kind, info])
        for name, old in self.aliases.items():
            hidden: Any = Annotated[kind | None, typer.Option(old, hidden=True)]
            yield Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=hidden)

    def value(self, given: Mapping[str, Any]) -> Any:
        """Take the value that the user gave, in whichever spelling."""
        values = [given[name] for name in self.aliases if given[name] is not None]
        value = _at_home(values[-1] if values else given[self.name])
        return tuple(value or ()) if self.repeated else value


def _flags(parameter: Parameter) -> Iterator[_Flag]:
    """List the flags of one parameter of a command."""
    if not is_dataclass(parameter.annotation):
        default = MISSING if parameter.default is Parameter.empty else parameter.default
        yield _Flag(parameter.name, parameter.annotation, default, parameter.kind)
        return
    kinds = get_type_hints(parameter.annotation, include_extras=True)
    for field in fields(parameter.annotation):
        default = _default(field) if parameter.default is Parameter.empty else getattr(parameter.default, field.name)
        yield _Flag(field.name, kinds[field.name], default)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _at_home(value: Any) -> Any:
    """Replace the `~` that begins a path, which a shell leaves alone in `--out=~/hits.html`."""
    if isinstance(value, list):
        return [_at_home(one) for one in value]
    if isinstance(value, Path) or (isinstance(value, str) and value.startswith("~/")):
        try:
            return type(value)(Path(value).expanduser())
        except RuntimeError as error:
            raise InputError(f"cannot find the home directory that {value} names") from error
    return value
