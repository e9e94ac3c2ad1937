"""Puts definitions of one file into another: a mistake into the solution, a task of the starter into the solution.

So a mistake is as long as what is wrong in it, and whatever surrounds it is right.
"""

import ast
import re


def merged(base, patch):
    """Give the text of `base` with every function, method and variable of `patch` in the place of its own."""
    places = dict(definitions(base))
    edits, imports = [], []
    for node in ast.parse(patch).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports.append(ast.get_source_segment(patch, node))
        for name, (first, last) in definitions_of(node):
            edits.append((places[name], patch.splitlines()[first - 1 : last]))
    lines = base.splitlines()
    for (first, last), new in sorted(edits, key=lambda edit: edit[0], reverse=True):
        lines[first - 1 : last] = new
    after = next(place for place, line in enumerate(lines) if line.startswith("from __future__"))
    lines[after + 1 : after + 1] = imports
    return "\n".join(lines) + "\n"


def definitions(text):
    for node in ast.parse(text).body:
        yield from definitions_of(node)


def definitions_of(node):
    """Give the names of what a statement defines, each with its first and its last line. A class is its methods."""
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            yield from ((f"{node.name}.{name}", lines) for name, lines in definitions_of(inner))
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield node.name, (min([node.lineno, *(one.lineno for one in node.decorator_list)]), node.end_lineno)


def tasks(text):
    """Give the names of what each TODO of an exercise defines: what stands behind its comment, up to the next."""
    marks = [
        (number, int(found[1]))
        for number, line in enumerate(text.splitlines(), 1)
        if (found := re.match(r"\s*# TODO (\d+): ", line))
    ]
    named = {number: [] for _, number in marks}
    for name, (first, _) in definitions(text):
        before = [number for line, number in marks if line < first]
        if before:
            named[before[-1]].append(name)
    return named


def picked(text, names):
    """Give a patch that has only these definitions of a text."""
    lines = text.splitlines()
    parts, classes = [], {}
    for name, (first, last) in definitions(text):
        if name in names:
            owner = name.rpartition(".")[0]
            (classes.setdefault(owner, []) if owner else parts).append("\n".join(lines[first - 1 : last]))
    parts += [f"class {owner}:\n" + "\n\n".join(methods) for owner, methods in classes.items()]
    return "\n\n\n".join(parts) + "\n"
