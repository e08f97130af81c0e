"""Tables in Markdown, here for all of the project: nothing below `dpmot` can be told by what is above it."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """The lines of a table.

    Args:
        head: what stands above each column.
        rows: the cells of each row, as many as in `head`.
        right: numbers of the columns that are set to the right.
    """
    to_the_right = set(right)
    rules = ["---:" if column in to_the_right else "---" for column in range(len(head))]
    return [_line(head), f"|{'|'.join(rules)}|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
