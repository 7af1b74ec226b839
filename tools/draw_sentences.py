"""Print random sentences from the code and documentation for proofreading.

python tools/draw_sentences.py [SEED] [COUNT]
"""

import ast
import io
import random
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("tpifu", "pipeline", "tools", "benchmarks")
# End of a sentence, paragraph, list item or table cell.
END = re.compile(r"(?<!Sec)[.!?](?=\s)|\n\s*\n|\n(?=(?:[-#>|]|\d+\.) ?)| \| |\Z")


def main(seed: int = 0, count: int = 60) -> None:
    sentences: set[tuple[Path, int, str]] = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for line, text in python_texts(path.read_text()):
                sentences.update((path, *found) for found in split(line, text))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        code = re.compile(r"^```.*?^```", re.M | re.S)
        text = code.sub(lambda match: "\n" * match[0].count("\n"), path.read_text())
        sentences.update((path, *found) for found in split(1, text))
    drawn = random.Random(seed).sample(sorted(sentences), count)
    for path, line, sentence in sorted(drawn):
        print(f"{path.relative_to(ROOT)}:{line}: {sentence}")


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every string (docstring, help text, message) and comment block."""
    parts: set[ast.AST] = set()
    for node in ast.walk(ast.parse(source)):  # f-strings come before their parts
        if isinstance(node, ast.JoinedStr):
            parts.update(node.values)
            texts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(map(str, texts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.lineno, node.value
    start, block = 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match("# (type|fmt):", token.string):
            if token.start[0] != start + block.count("\n"):
                yield start, block
                start, block = token.start[0], ""
            block += token.string.lstrip("# ") + "\n"
    yield start, block


def split(line: int, text: str) -> Iterator[tuple[int, str]]:
    """Line and text of every sentence of at least four words."""
    start = 0
    for end in END.finditer(text):
        sentence = " ".join(text[start : end.end()].split()).strip("|-# ")
        if len(re.findall(r"[A-Za-z]{2,}", re.sub("`[^`]*`", "", sentence))) >= 4:
            begin = start + len(text[start:]) - len(text[start:].lstrip())
            yield line + text.count("\n", 0, begin), sentence
        start = end.end()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
