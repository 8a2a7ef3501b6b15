"""A table refused in one line for people: its error, and how messages show paths, names and cells."""

STANDARD_INPUT = "-"        # as the name of a table: CSV from standard input


class TableError(ValueError):
    """A table that cannot be used; the message is one line for people."""


def shown_path(path):
    if path == STANDARD_INPUT:
        return "standard input"
    return str(path) if str(path).isprintable() else repr(str(path))


def quoted(name, most=50):
    """A column, label or cell as a message quotes it: printable and short."""
    shown = repr(name[:most])
    return shown if len(shown) <= most else shown[:most - 4] + "..." + shown[-1]


def listed(names, most=200):
    """Names with commas between them, in so many characters or a few more."""
    listed = ", ".join(quoted(name)[1:-1] for name in names[:200])
    return listed if len(listed) <= most else f"{listed[:most]}... ({len(names):,} in all)"
