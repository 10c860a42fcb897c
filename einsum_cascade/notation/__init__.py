"""The IR as text, LaTeX, MathML and graphs."""
