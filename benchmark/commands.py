"""What the command lines have in common."""

import argparse
from typing import NoReturn


class CommandLine(argparse.ArgumentParser):
    """A parser whose complaints are one line; its subcommands' too."""

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


def positive(text: str) -> int:
    """An option that counts something, for `type=`: ``500000`` or ``12e6``."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes a whole number, not '{text}'") from None
    if not value >= 1 or value % 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return int(value)
