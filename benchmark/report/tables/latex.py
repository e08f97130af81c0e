"""Text and tables in LaTeX."""

from collections.abc import Iterable, Sequence

_LATEX = {"\\": r"\textbackslash{}", "²": "$^2$", "±": r"$\pm$", "–": "--", "≤": r"$\leq$", "×": r"$\times$"}
_LATEX |= {
    "σ_M": r"$\sigma_M$",
    "λ": r"$\lambda$",
    "χ": r"$\chi$",
    "W₂": "$W_2$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
}
_LATEX |= {c: "\\" + c for c in "%&#_{}$"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def escaped(text: str) -> str:
    """Text with LaTeX's special characters and the project's symbols written in LaTeX."""
    out, at = [], 0
    while at < len(text):
        token = next((t for t in _LATEX if len(t) > 1 and text.startswith(t, at)), text[at])
        out.append(_LATEX.get(token, token))
        at += len(token)
    return "".join(out)


def in_maths(text: str) -> str:
    """Text that is LaTeX's mathematics already, as part of a paragraph."""
    return f"${text}$"


def table_in_latex(
    label: str, caption: str, head: Sequence[str], groups: Iterable[Iterable[Sequence[str]]], alignment: str
) -> str:
    """A table as wide as the text, in the style of booktabs (packages booktabs and graphicx).

    Args:
        label: for references; caption and head: text, which is escaped.
        groups: rows, which have a rule between one group and the next; cells are in LaTeX.
        alignment: a letter for each column.
    """
    body: list[str] = []
    for rows in groups:
        if body:
            body.append(r"\midrule")
        body += [" & ".join(row) + r" \\" for row in rows]
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escaped(caption)}}}",
        rf"\label{{{label}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        " & ".join(map(escaped, head)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
