"""Tasks as a numbered few-shot prompt, and what a teacher wrote on as tasks again.

A task is a dict of an instruction, an input ("" for none), an output and
is_classification (source D; Wang et al. 2022, arXiv 2212.10560).

>>> seed = {"instruction": "Name a fruit.", "input": "", "output": "A pear."}
>>> print(encode_tasks([seed]))
###
1. Instruction: Name a fruit.
1. Input: <noinput>
1. Output: A pear.
###
2. Instruction:
>>> reply = " Name a bird.\\n2. Input: <noinput>\\n2. Output: A wren.\\n###\\n3. Instr"
>>> new, last = parse_tasks(reply, start=2)
>>> new.task["output"], last.reason
('A wren.', 'cut off')
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.data_utils import load_jsonl
from helpers.metrics import repetition, words

__all__ = ["BLACKLIST", "FIELDS", "REASONS", "Candidate", "Task", "encode_task"]
__all__ += ["encode_tasks", "load_seeds", "parse_tasks"]

Task = dict[str, Any]
FIELDS = ("instruction", "input", "output")
NO_INPUT = "<noinput>"
REASONS = {
    "cut off": "the last task of a reply, with no ### after it",
    "missing field": "no Instruction, Input or Output line",
    "wrong order": "a field twice, or the fields in another order",
    "wrong number": "its number is not one more than the number before it",
    "not plain text": "a control token such as </s>, or a broken character",
    "empty instruction": "no letter or digit in the instruction",
    "empty output": "no letter or digit in the output",
    "too short": "the instruction has fewer than min_chars characters",
    "too long": "a field has more than max_chars characters",
    "echo": "the output repeats the instruction or the input",
    "loop": "more than half of a field's 4-grams had occurred in it before",
    "blacklisted": "it asks for what a text model can neither see nor make",
    "near-duplicate": "ROUGE-L with an accepted task reaches the threshold",
}  # in the order in which they are looked for: a candidate gets the first that fits
# Narrower than the paper's list: a story may well be about a map, or have a plot.
BLACKLIST = ("image", "photo", "graph", "chart", "diagram", "video", "audio", "website")
BLACKLIST += ("이미지", "사진", "그래프", "도표", "동영상", "오디오", "웹사이트")

_GAP = r"[^\S\n]*"  # spaces within a line, all those that strip() takes off
_END = re.compile(f"^{_GAP}###{_GAP}$", re.MULTILINE)
_LABEL = re.compile(
    rf"^{_GAP}([0-9]{{1,6}}){_GAP}\.{_GAP}(Instruction|Input|Output){_GAP}:", re.MULTILINE
)
_OPENING = re.compile(rf"\s*(?:###\s*)?[0-9]{{1,6}}{_GAP}\.{_GAP}Instruction{_GAP}:")
_NOT_TEXT = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffd]|<\|[^|>\s]+\|>|</?s>|<(?:unk|pad)>"
)


@dataclass(frozen=True)
class Candidate:
    """One task that a teacher wrote, and what became of it."""

    text: str  # as written
    task: Task | None  # None unless its fields could be read
    reason: str = ""  # "" if accepted, else one of REASONS, or what `check` said
    note: str = ""  # for a near-duplicate: the score and the accepted text
    ask: int = 0  # the number of the reply it stood in, from 0


def load_seeds(path: str | Path) -> list[Task]:
    """Read seed tasks from a JSON lines file.

    Raises what `load_jsonl` does, and ValueError, naming the line, for a missing or
    empty field, an is_classification that is no bool, or an instruction and input
    that stand in the file twice.
    """
    tasks, seen = load_jsonl(path), {}
    lines = Path(path).read_bytes().split(b"\n")
    numbers = [n for n, line in enumerate(lines, start=1) if line.strip()]
    for number, task in zip(numbers, tasks):
        where = f"{path}, line {number}"
        encode_task(task, number=1, where=where)
        if not isinstance(task.get("is_classification"), bool):
            raise ValueError(f"{where}: is_classification is not true or false, set it")
        first = seen.setdefault((task["instruction"], task["input"]), number)
        if first != number:
            raise ValueError(f"{where}: the same as line {first}, delete one")
    return tasks


def encode_tasks(tasks: Sequence[Mapping[str, Any]], *, header: str = "") -> str:
    """Return the few-shot prompt: `header`, numbered tasks, and the next number.

    It ends without a space, which would split the teacher's first token. Fields are
    stripped; an empty input is written <noinput>. Raises ValueError for no tasks, for a
    missing or empty field, for one with a line that would end or begin a task, and for
    a control token.
    """
    if not tasks:
        raise ValueError("encode_tasks got no tasks, expected at least one as a shot")
    blocks = [
        encode_task(task, number=n, where=f"task {n}")
        for n, task in enumerate(tasks, start=1)
    ]
    end = f"###\n{len(blocks) + 1}. Instruction:"
    return "\n".join([*([header] if header else []), *blocks, end])


def encode_task(task: Mapping[str, Any], *, number: int, where: str) -> str:
    """Return one task as numbered lines after a line of ###.

    Raises what `encode_tasks` does, beginning with `where`, such as "task 3".
    """
    lines = [f"{number}. {name.capitalize()}:" for name in FIELDS]
    for i, name in enumerate(FIELDS):
        field = task.get(name)
        if not isinstance(field, str) or not (field.strip() or name == "input"):
            wanted = 'a text ("" for none)' if name == "input" else "a text, not empty"
            raise ValueError(f"{where}: {name} is {field!r}, expected {wanted}")
        lines[i] += " " + (_lines(field).strip() or NO_INPUT)
    block = "\n".join(lines)
    if len(_LABEL.findall(block)) != len(FIELDS) or _END.search(block):
        raise ValueError(
            f"{where}: a field has a line such as '###' or '1. Input:', which would be "
            "read as the next task; reword that line"
        )
    if bad := _NOT_TEXT.search(block):
        raise ValueError(
            f"{where}: a field holds {bad.group()!r}, expected plain text without "
            "control tokens and broken characters; delete it"
        )
    return "###\n" + block


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_tasks(
    text: str,
    *,
    start: int,
    min_chars: int = 5,
    max_chars: int = 1000,
    blacklist: Sequence[str] = BLACKLIST,
    strict_numbers: bool = True,
) -> list[Candidate]:
    """Cut a teacher's continuation into candidates, each with its task or a reason.

    `start` is the number at which the prompt ended; a teacher may repeat that line.
    Without `strict_numbers` any number will do: a small teacher counts badly, which
    need not spoil the task.
    Lengths count characters, not words as in the paper's code (4 to 150): a whole
    Korean instruction may be two words. A word of `blacklist` counts in the plural and
    with particles too. A new task's is_classification is None, since the prompt does
    not ask for it. Raises ValueError for a `start` below 1.
    """
    if start < 1:
        raise ValueError(f"start is {start}, expected 1 or more")
    if not _OPENING.match(text):
        text = f"{start}. Instruction:" + text
    *closed, last = _END.split(_lines(text))
    parts = [(part, "") for part in closed] + [(last, "cut off")]
    found, expected = [], start
    for part, reason in parts:
        if not part.strip():
            continue
        task, labels = None, _LABEL.findall(part)
        reason = reason or _misshape(labels, expected if strict_numbers else None)
        if not reason:
            fields = [field.strip() for field in _LABEL.split(part)[3::3]]
            task = dict(zip(FIELDS, fields)) | {"is_classification": None}
            task["input"] = "" if fields[1].lower() == NO_INPUT else fields[1]
            reason = _flaw(task, min_chars, max_chars, blacklist)
        expected = 1 + (int(labels[0][0]) if labels else expected)
        found.append(Candidate(part.strip(), task, reason))
    return found


def _misshape(labels: Sequence[tuple[str, str]], expected: int | None) -> str:
    """Return why (number, name) of a task's labels are not as asked, "" if they are."""
    names = [name.lower() for _, name in labels]
    if not set(FIELDS) <= set(names):
        return "missing field"
    if names != list(FIELDS):
        return "wrong order"
    right = expected is None or {int(n) for n, _ in labels} == {expected}
    return "" if right else "wrong number"


def _flaw(task: Task, least: int, most: int, blacklist: Sequence[str]) -> str:
    """Return why a complete task is dropped, "" if it is not."""
    instruction, given, output = fields = [task[name] for name in FIELDS]
    banned = "|".join(map(re.escape, blacklist))
    if any(map(_NOT_TEXT.search, fields)):
        return "not plain text"
    if not words(instruction):
        return "empty instruction"
    if not words(output) or output.lower() in (NO_INPUT, "<nooutput>"):
        return "empty output"
    if len(instruction) < least:
        return "too short"
    if max(map(len, fields)) > most:
        return "too long"
    if words(output) in (words(instruction), words(given)):
        return "echo"
    if any(repetition(field) > 0.5 for field in fields):
        return "loop"
    kinds = rf"(?<![^\W_])(?:{banned})s?(?![A-Za-z])"  # Korean particles may follow
    if banned and re.search(kinds, instruction, re.IGNORECASE):
        return "blacklisted"
    return ""
