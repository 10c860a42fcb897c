"""The intermediate representation as text, LaTeX, MathML and graphs."""
