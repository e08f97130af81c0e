"""What the command lines have in common: the parser, and how they end."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from samplers.errors import UserError


class CommandLine(argparse.ArgumentParser):
    """A parser whose complaints are one line; its subcommands' too.

    Args:
        as for `argparse.ArgumentParser`. From then on what an output's encoding lacks, such as σ, is written as an
        escape.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"error: {message} ({self.prog} --help explains)\n")


def command_line(module: str, description: str | None) -> CommandLine:
    """The parser of ``python -m MODULE``: its docstring's first paragraph comes before the options, the rest after."""
    usage, _, epilog = (description or "").partition("\n\n")
    return CommandLine(
        prog=f"python -m {module}",
        description=usage,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def read_settings(settings: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """`key=value` pairs as options of the sampler, and of the problem (`problem.key=value`)."""
    options: dict[str, str] = {}
    of_problem: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals and value):
            raise UserError(f"--set takes KEY=VALUE, got '{setting}'")
        if key.startswith("problem."):
            of_problem[key.removeprefix("problem.")] = value
        else:
            options[key] = value
    return options, of_problem


def run_command(
    work: Callable[[argparse.Namespace], int | None],
    options: argparse.Namespace,
    interrupted: str = "the same command starts anew",
) -> int:
    """Do the work of a command line and turn its outcome into an exit code.

    What the user can mend (`UserError`, or a file that cannot be read or written) and Ctrl-C give one line on standard
    error. Any other error is a bug and keeps its traceback.

    Args:
        work: gets the options; returns the exit code, None for 0.
        interrupted: what holds after Ctrl-C, and how to go on.

    Returns:
        That of `work`; 2 for what the user can mend, 130 after Ctrl-C.
    """
    try:
        code = work(options)
        sys.stdout.flush()
        return code or 0
    except UserError as error:
        return _complain(str(error))
    except BrokenPipeError:  # whoever reads what is printed, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.strerror is None:  # raised by a library on its own account
            raise
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    except KeyboardInterrupt:
        print(f"interrupted: {interrupted}", file=sys.stderr)
        return 130


def _complain(reason: str) -> int:
    print(f"error: {' '.join(reason.split())}", file=sys.stderr)
    return 2


def positive(text: str) -> int:
    """An option that counts something, for `type=`: ``500000`` or ``12e6``."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes a whole number, not '{text}'") from None
    if not value >= 1 or value % 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return int(value)
