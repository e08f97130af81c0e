"""What the command lines have in common."""

import argparse


def command_line(module: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m MODULE``: its docstring's first paragraph comes before the options, the rest after."""
    usage, _, epilog = (description or "").partition("\n\n")
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=usage,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
