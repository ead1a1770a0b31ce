"""The plugin of pytest: ``assert_equivalent``, a fixture for the tests of a repository that holds models.

    def test_the_model_we_ship(assert_equivalent):
        assert_equivalent("model.onnx", "optimised.onnx")

It is loaded with every run of pytest where bnfold is installed, and so imports nothing else before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import pytest

if TYPE_CHECKING:
    import os

    import onnx_ir as ir

    from bnfold.verifying import Comparison

__all__ = ["AssertEquivalent", "assert_equivalent"]

_MARKER = "bnfold(**options): options of assert_equivalent for this test, those of bnfold.verify, such as timeout=60"
_TIMEOUT = "Seconds that one run of a model may take in assert_equivalent"


class AssertEquivalent(Protocol):
    """What the fixture gives, for annotations."""

    def __call__(
        self,
        reference: str | os.PathLike[str] | ir.Model,
        candidate: str | os.PathLike[str] | ir.Model,
        **options: Any,
    ) -> Comparison:
        """Compare two models, and fail the test unless they are equivalent."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--bnfold-timeout`` on the command line, and ``bnfold_timeout`` in the configuration."""
    group = parser.getgroup("bnfold", "comparing ONNX models")
    group.addoption("--bnfold-timeout", type=float, metavar="SECONDS", help=f"{_TIMEOUT}.")
    parser.addini("bnfold_timeout", f"{_TIMEOUT}, where --bnfold-timeout does not say.", default="")


def pytest_configure(config: pytest.Config) -> None:
    """The marker, for --strict-markers; and a timeout that is none is said at once."""
    config.addinivalue_line("markers", _MARKER)
    _timeout(config)


@pytest.fixture
def assert_equivalent(request: pytest.FixtureRequest) -> AssertEquivalent:
    """``assert_equivalent(reference, candidate, **options)`` fails unless the two compute the same.

    The options are those of ``bnfold.verify``. They come from the call, else from the marker ``bnfold``, else, the
    timeout, from ``--bnfold-timeout`` and the configuration. What it returns is the ``bnfold.Comparison``.
    """
    defaults = _defaults(request)

    def compare(
        reference: str | os.PathLike[str] | ir.Model,
        candidate: str | os.PathLike[str] | ir.Model,
        **options: Any,
    ) -> Comparison:
        __tracebackhide__ = True
        import bnfold

        try:
            result = bnfold.verify(reference, candidate, **{**defaults, **options})
        except bnfold.BnfoldError as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            if result:
                return result
            problem = _table(result)
        _fail(problem)

    return compare


def _defaults(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    timeout = _timeout(request.config)
    if timeout is not None:
        options["timeout"] = timeout
    for marker in reversed(list(request.node.iter_markers("bnfold"))):  # the closest last
        if marker.args:
            raise pytest.UsageError("the marker bnfold takes options by name, such as timeout=60")
        options |= marker.kwargs
    return options


def _timeout(config: pytest.Config) -> float | None:
    given = config.getoption("--bnfold-timeout")
    text = str(given) if given is not None else config.getini("bnfold_timeout")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise pytest.UsageError(f"bnfold: a timeout of {text!r} is no number of seconds above 0")
    return seconds


def _table(result: Comparison) -> str:
    from bnfold.reporting import console
    from bnfold.reporting.comparison import document

    return console.render(document(result)).rstrip()


def _fail(message: str) -> NoReturn:
    """Out of the block that caught an error, so that no other traceback is shown with this one."""
    __tracebackhide__ = True
    pytest.fail(message)
