"""Text in LaTeX."""

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


def latex(text: str) -> str:
    """Text with LaTeX's special characters and the project's symbols written in LaTeX."""
    out, at = [], 0
    while at < len(text):
        token = next((t for t in _LATEX if len(t) > 1 and text.startswith(t, at)), text[at])
        out.append(_LATEX.get(token, token))
        at += len(token)
    return "".join(out)
