"""The tables of docs/protocol.md, 13 and 14, read from the text itself."""

import re

HEADING = re.compile(r"^#{2,4} ")
TABLE = re.compile(r"^\*\*(\w+)\*\*(?:, at most ([\d,]+) bytes)?$")
RULE = re.compile(r"^Rule `(\w+)`:")
BOUNDS = re.compile(r"^(each )?(\d+)\.\.(\d*)( scalars)?$")


class Field:
    def __init__(self, key, name, text):
        self.key = int(key.rstrip("?"))
        self.optional = key.endswith("?")
        self.name = name
        self.type, *constraints = [part.strip() for part in text.split(",")]
        self.bounds, self.each, self.scalars, self.rules = None, None, False, []
        for constraint in constraints:
            bounds = BOUNDS.match(constraint)
            if not bounds:
                self.rules.append(constraint)
                continue
            pair = (int(bounds[2]), int(bounds[3]) if bounds[3] else None)
            if bounds[1]:
                self.each = pair
            else:
                self.bounds, self.scalars = pair, bool(bounds[4])


class Table:
    def __init__(self, name, limit):
        self.name, self.limit, self.fields, self.rule = name, limit, [], None


class Spec:
    def __init__(self, text):
        lines = text.splitlines()
        self.tables = {}
        self.changes = {}
        self._read_tables(lines)
        self.labels = {name: value.strip("`").encode() + b"\0" for name, value in _rows(lines, "### 14.1 Labels")}
        self.kinds = {
            int(number): {
                "name": name,
                "object": object_.split(",")[0],
                "body": object_.split(", ")[1] if ", " in object_ else None,
                "label": label or None,
                "lane": {"mail": 1, "control": 2, "no": None}[lane],
                "groups": groups == "yes",
            }
            for number, name, object_, label, lane, groups in _rows(lines, "### 14.2 Kinds")
        }
        self.enumerations = {
            name: {int(part.split()[0]): part.split(None, 1)[1] for part in numbers.split(", ")}
            for name, numbers in _rows(lines, "### 14.3 Other enumerations")
        }
        self.signers = {}
        for document, label, signer in _rows(lines, "### 14.4 Which label signs which document"):
            self.signers.setdefault(document, []).append((label, signer))

    def _read_tables(self, lines):
        start = lines.index("## 13. Formats")
        table = None
        for line in lines[start:lines.index("## 14. Registries")]:
            heading = TABLE.match(line)
            if heading:
                limit = int(heading[2].replace(",", "")) if heading[2] else None
                table = self.tables[heading[1]] = Table(heading[1], limit)
            elif line.startswith("A **Change** is an array"):
                table = None
            elif HEADING.match(line):
                table = None
            elif RULE.match(line) and table:
                table.rule = RULE.match(line)[1]
            elif line.startswith("|") and not line.startswith("|---"):
                cells = _cells(line)
                if cells[0] in ("key", "number", "type"):
                    continue
                if table:
                    table.fields.append(Field(*cells))
                elif len(cells) == 3 and cells[0].isdigit():
                    fields = [field for field in cells[2].split(", ") if field]
                    self.changes[int(cells[0])] = (cells[1], fields)


def _cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.endswith("|") else []


def _rows(lines, heading):
    """The rows of the first table below a heading."""
    rows, inside = [], False
    for line in lines[lines.index(heading) + 1:]:
        if line.startswith("|"):
            if inside and not line.startswith("|---"):
                rows.append([cell.strip() for cell in line[1:-1].split("|")])
            inside = True
        elif inside:
            return rows
    return rows
