"""``net.py:Net`` and ``package.module:net``: whatever a name in Python code leads to.

To import a file is to run it: this is for code of one's own. The file's folder, or the current one for a package, is
on ``sys.path`` meanwhile, as if it were run there. Code that ends the process (``sys.exit``, a command line parsed at
import) is told like code that fails: it must not end ours as if all were well.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.errors import BnfoldError, ModelError
from bnfold.exporting.sources.loaded import Loaded
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from torch import nn

__all__ = ["call", "load"]

_SHOWN = 12  # names listed in a message


def load(source: str, arguments: Mapping[str, object]) -> Loaded:
    """The module that a class or a function makes, or that is there.

    Args:
        source: ``FILE.py:NAME`` or ``PACKAGE.MODULE:NAME``; the name may have dots.
        arguments: What the class or the function is called with.

    Raises:
        BnfoldError: There is no such file, module or name, or the arguments are not those that it takes.
        ModelError: The code raises, or gives something else than an ``nn.Module``.
    """
    require("torch")
    place, colon, name = source.rpartition(":")
    if not colon or name.endswith(".py"):  # C:\net.py
        place, name = source, ""
    is_file = place.endswith(".py")
    folder = Path(place).resolve().parent if is_file else Path.cwd()
    with _path(folder):
        code = _import_file(Path(place)) if is_file else _import_module(place)
        found = _attribute(code, name, place)
        module = call(found, arguments, source)
    is_shared = module is found  # whoever imports it as well has the same one
    return Loaded(name=source, module=module, files=(Path(place),) if is_file else (), is_shared=is_shared)


def call(found: Any, arguments: Mapping[str, object], source: str) -> nn.Module:
    """The module that a factory makes; one that is a module already is that.

    Raises:
        BnfoldError: The arguments are not those that it takes.
        ModelError: It raises, or gives something else than an ``nn.Module``.
    """
    import torch
    from torch import nn

    if isinstance(found, nn.Module):
        if arguments:
            raise BnfoldError(f"{source}: is a module, not a factory: it takes no --arg")
        return found
    if not callable(found):
        raise BnfoldError(f"{source}: is {_kind(found)}, not a factory, nor an nn.Module")
    _check_arguments(found, arguments, source)
    torch.manual_seed(0)  # weights that are drawn are the same each time
    try:
        module = found(**arguments)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise ModelError(f"{source}: {_where(error)}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{source}: gives {_kind(module)}, not an nn.Module")
    return module


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise BnfoldError(f"{path}: no such file")
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"_bnfold_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise BnfoldError(f"{path}: is no Python file")
    code = importlib.util.module_from_spec(spec)
    sys.modules[name] = code  # where dataclasses and pickles look for their module
    try:
        spec.loader.exec_module(code)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{path}: cannot be imported: {_where(error)}") from error
    finally:
        sys.modules.pop(name, None)
    return code


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise BnfoldError(f"{name}: there is no module '{error.name}' here, nor is it installed") from error
        raise ModelError(f"{name}: cannot be imported: {_where(error)}") from error
    except (TypeError, ValueError) as error:  # an empty name, a relative one
        raise BnfoldError(f"{name or '(nothing)'}: is no module's name") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{name}: cannot be imported: {_where(error)}") from error


def _attribute(code: ModuleType, name: str, place: str) -> Any:
    found: Any = code
    for part in name.split(".") if name else ():
        if not hasattr(found, part):
            raise BnfoldError(f"{place}: there is no '{name}' in it; {_offered(code, place)}")
        found = getattr(found, part)
    if found is code:
        raise BnfoldError(f"{place}: give the name of the network, {place}:NAME; {_offered(code, place)}")
    return found


def _offered(code: ModuleType, place: str) -> str:
    """What could have been meant: modules, their classes, and functions, of this file."""
    from torch import nn

    def is_meant(item: object) -> bool:
        own = getattr(item, "__module__", None) == code.__name__
        is_class = inspect.isclass(item) and issubclass(item, nn.Module)
        return isinstance(item, nn.Module) or (own and (is_class or inspect.isfunction(item)))

    names = [name for name, item in vars(code).items() if not name.startswith("_") and is_meant(item)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it has: {', '.join(names[:_SHOWN])}{more}" if names else f"no class or function of {place} gives a network"


def _check_arguments(factory: Any, arguments: Mapping[str, object], source: str) -> None:
    """See that a call would bind: what is wrong inside of it is told by what it raises."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # of some built-in
        return
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = {name: entry for name, entry in parameters.items() if entry.kind not in (entry.VAR_KEYWORD,)}
    unknown = [name for name in arguments if name not in named]
    if unknown and not takes_any:
        known = f"; it takes {', '.join(named)}" if named else "; it takes none"
        raise BnfoldError(f"{source}: takes no argument '{unknown[0]}'{known}")
    needed = [
        name
        for name, entry in named.items()
        if entry.default is entry.empty and entry.kind is not entry.VAR_POSITIONAL and name not in arguments
    ]
    if needed:
        wanted = " ".join(f"--arg {name}=…" for name in needed)
        raise BnfoldError(f"{source}: needs {', '.join(needed)}: give {wanted}")


def _where(error: BaseException) -> str:
    """One line: what was raised, and the last place of it that is not ours."""
    lines = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {words}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    frames = [frame for frame in frames if "importlib" not in frame.filename]
    return f"{Path(frames[0].filename).name}, line {frames[0].lineno}: {words}" if frames else words


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


@contextmanager
def _path(folder: Path) -> Iterator[None]:
    """A folder in front of all others that modules are looked for in; the code may change both, and the current one."""
    entry, here = os.fspath(folder), Path.cwd()
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        os.chdir(here)
        if entry in sys.path:
            sys.path.remove(entry)
