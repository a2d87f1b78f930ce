"""Bar charts of benchmark tables as SVG, without any library: one group of bars for each row, one bar for each column."""
import math
from html import escape

COLOURS = ["#1f6f8b", "#e07a2c", "#7a9e3a", "#a23b6b", "#777777"]
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 760, 250, 90, 14, 10, 56


def number(cell):
    """Of a table's cell; None where it has none."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def scale(values, logarithmic):
    """A function from a value to a share of the chart's width."""
    top = max(values)
    if not logarithmic:
        return lambda value: value / top
    low = math.floor(math.log10(min(values)) - 0.1)
    return lambda value: (math.log10(value) - low) / (math.log10(top) - low)


def text(x, y, content, anchor="start", size=12, weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}">'
            f"{escape(str(content))}</text>")


def bar_chart(title, unit, names, rows, logarithmic=False):
    """`rows`: (label, values), a value for each of `names`, or None. Returns the SVG; None if there is nothing to draw."""
    known = [value for _, values in rows for value in values if value is not None and value > 0]
    if not known:
        return None
    share = scale(known, logarithmic)
    room = WIDTH - LEFT - RIGHT
    parts = [text(8, 20, title, size=14, weight="bold"),
             text(8, 40, unit + (", logarithmic" if logarithmic else ""), size=11)]
    if len(names) > 1:
        for i, name in enumerate(names):
            parts.append(f'<rect x="{LEFT + i * 150}" y="30" width="11" height="11" fill="{COLOURS[i % len(COLOURS)]}"/>')
            parts.append(text(LEFT + i * 150 + 16, 40, name, size=11))
    y = TOP
    for label, values in rows:
        parts.append(text(LEFT - 8, y + len(values) * BAR / 2 + 4, label, "end"))
        for i, value in enumerate(values):
            shown = "-" if value is None else f"{value:g}"
            width = 0 if value is None else 1 if value <= 0 else max(1, room * share(value))
            colour = COLOURS[i % len(COLOURS)]
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(text(LEFT + 4 + width, y + BAR - 4, shown, size=11))
            y += BAR
        y += GAP
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 4}" font-family="sans-serif">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n')
