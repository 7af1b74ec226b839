"""The tpifu command, run in this process."""

from pathlib import Path

from typer.testing import CliRunner

from tpifu.cli.app import app


def tpifu(*arguments):
    """Run the command; an exception that it does not handle reaches the test."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def done(*arguments):
    """The result of a command that must succeed."""
    result = tpifu(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments) -> str:
    """The one line that a failing command must print."""
    result = tpifu(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def settings(*pairs: str) -> list[str]:
    """Each KEY=VALUE as an option --set."""
    return [argument for pair in pairs for argument in ("--set", pair)]


class Payload:
    """Unpickling it runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.proof}",)
