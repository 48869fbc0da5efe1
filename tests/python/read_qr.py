"""Reads the picture of a code with zxing-cpp, which shares nothing with what has drawn it.

    read_qr.py svg FILE         squares of a path, black on white
    read_qr.py terminal FILE    half blocks, light letters on dark ground

Prints the text, and fails if there is none.
"""

import re
import sys

import zxingcpp

SCALE = 4
# The upper and the lower half of a letter: is it light?
HALVES = {" ": (False, False), "\u2580": (True, False), "\u2584": (False, True), "\u2588": (True, True)}


def pixels_of_svg(text):
    """A bitmap of the squares that the path of the picture draws."""
    width, height = (int(re.search(rf'<svg[^>]* {side}="(\d+)"', text)[1]) for side in ("width", "height"))
    rows = [bytearray([255]) * width for _ in range(height)]
    squares = re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)", re.search(r'<path[^>]* d="([^"]*)"', text)[1])
    for x, y, across, down in (map(int, square) for square in squares):
        for row in rows[y : y + down]:
            row[x : x + across] = bytes(across)
    return rows


def pixels_of_terminal(text):
    """A bitmap of what a terminal shows, with some of its dark ground around it."""
    lines = text.splitlines()
    across = max(map(len, lines))
    modules = []
    for line in lines:
        halves = [HALVES[letter] for letter in line.ljust(across)]
        modules += [[upper for upper, _ in halves], [lower for _, lower in halves]]
    border = SCALE * 2
    rows = [bytearray(across * SCALE + 2 * border) for _ in range(border)]
    for module in modules:
        row = bytes(border) + b"".join(bytes([255 if light else 0]) * SCALE for light in module) + bytes(border)
        rows += [bytearray(row) for _ in range(SCALE)]
    return rows + [bytearray(len(rows[0])) for _ in range(border)]


def main():
    form, file = sys.argv[1:]
    with open(file, encoding="utf-8") as source:
        text = source.read()
    rows = {"svg": pixels_of_svg, "terminal": pixels_of_terminal}[form](text)
    image = memoryview(b"".join(rows)).cast("B", shape=[len(rows), len(rows[0])])
    codes = zxingcpp.read_barcodes(image)
    if [code.format for code in codes] != [zxingcpp.BarcodeFormat.QRCode]:
        sys.exit(f"not one code but {codes}")
    print(codes[0].text)


main()
