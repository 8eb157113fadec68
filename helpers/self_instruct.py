"""Self-instruct: a teacher continues a list of tasks, and code keeps the good ones.

A task is a dict of an instruction, an input ("" for none), an output and
is_classification. Seeds are shown as few shots; the teacher, any callable from prompt
to text, writes on; what it wrote is cut into tasks, checked, and compared with
everything kept so far (source D; Wang et al. 2022, arXiv 2212.10560).

A reply may break off in mid-task, so its last task counts only if `###` follows. A
teacher that knows that it was not cut says so by adding that line:

    def teacher(prompt):
        one = draw(model, tokenizer, prompt, max_new_tokens=200)[0][0]
        return one.text if one.reason == "length" else one.text + "\\n###"

What a task looks like is in `helpers.seed_tasks`, when two are alike in `helpers.rouge`;
their public names can be had from here too.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from helpers.data_utils import load_jsonl
from helpers.rouge import Pool, rouge_l
from helpers.seed_tasks import BLACKLIST, FIELDS, REASONS, Candidate, Task
from helpers.seed_tasks import encode_task, encode_tasks, load_seeds, parse_tasks

__all__ = ["BLACKLIST", "FIELDS", "REASONS", "Candidate", "Pool", "Report", "collect"]
__all__ += ["encode_task", "encode_tasks", "load_seeds", "make_prompt", "parse_tasks"]
__all__ += ["rouge_l"]


@dataclass(frozen=True)
class Report:
    """What came of all asks: every candidate, and how many were accepted after each."""

    candidates: list[Candidate]
    curve: list[int]  # accepted after ask 0, 1, 2 ...

    @property
    def tasks(self) -> list[Task]:
        """The accepted tasks, in order."""
        return [dict(one.task) for one in self.candidates if not one.reason]

    @property
    def dropped(self) -> Counter[str]:
        """How many candidates were dropped for each reason."""
        return Counter(one.reason for one in self.candidates if one.reason)

    @property
    def accept_rate(self) -> float:
        """Accepted over all candidates, 0.0 if there were none."""
        return len(self.tasks) / max(1, len(self.candidates))

    def rows(self) -> list[dict[str, Any]]:
        """Return the candidates as dicts, ready for `save_jsonl` or a table."""
        return [asdict(one) for one in self.candidates]

    def __str__(self) -> str:
        head = f"{len(self.curve)} asks, {len(self.candidates)} candidates, "
        head += f"{len(self.tasks)} accepted ({self.accept_rate:.0%})"
        lines = [f"  {n:4} {reason}" for reason, n in self.dropped.most_common()]
        return "\n".join([head, *lines])


def make_prompt(
    seeds: Sequence[Mapping[str, Any]],
    *,
    ask: int,
    shots: int = 3,
    seed: int = 0,
    header: str = "",
    accepted: Sequence[Mapping[str, Any]] = (),
    recycled: int = 0,
) -> str:
    """Return the prompt of ask number `ask`: `shots` tasks drawn without replacement.

    Up to `recycled` of them come from `accepted` (the paper: 8 shots, 2 recycled).
    Raises ValueError unless 0 <= recycled <= shots <= number of seeds, shots >= 1.
    """
    if not 0 <= recycled <= shots <= len(seeds) or shots < 1:
        raise ValueError(
            f"shots={shots}, recycled={recycled} with {len(seeds)} seeds, expected "
            "1 <= shots <= seeds and 0 <= recycled <= shots"
        )
    dice = random.Random(f"{seed} {ask}")
    chosen = dice.sample(list(accepted), min(recycled, len(accepted)))
    chosen += dice.sample(list(seeds), shots - len(chosen))
    dice.shuffle(chosen)
    return encode_tasks(chosen, header=header)


def collect(
    teacher: Callable[[str], str],
    seeds: Sequence[Mapping[str, Any]],
    *,
    path: str | Path,
    max_asks: int,
    wanted: int | None = None,
    shots: int = 3,
    recycled: int = 0,
    seed: int = 0,
    header: str = "",
    threshold: float = 0.7,
    unit: str = "syllable",
    fields: Sequence[str] = ("instruction",),
    check: Callable[[Task], str | None] | None = None,
    progress: bool = False,
    **limits: Any,
) -> Report:
    """Ask the teacher until `wanted` tasks are accepted or `max_asks` replies are in.

    Each reply goes to the JSON lines file `path` before anything else happens to it; a
    later call with that path takes its replies from there first and judges them again,
    so an interrupted run goes on where it was, and a new threshold costs no new ask.
    Near-duplicates are told by `fields` together, among seeds and accepted tasks.
    `check` may return a reason to drop a well-formed task. **limits go to `parse_tasks`.
    What the teacher raises comes through (retries are the client's business). Raises
    ValueError if `path` holds the replies to other prompts, TypeError for no text.
    """
    from tqdm import tqdm

    if not fields or not set(fields) <= set(FIELDS):
        raise ValueError(f"fields is {fields!r}, expected some of {FIELDS}")
    pool = Pool(threshold=threshold, unit=unit)
    for number, task in enumerate(seeds, start=1):
        encode_task(task, number=number, where=f"seed {number}")
        pool.add(" ".join(task[name] for name in fields))
    log, accepted, report = _read_log(Path(path)), [], Report([], [])
    options = {"shots": shots, "seed": seed, "header": header, "recycled": recycled}
    for ask in tqdm(range(max_asks), disable=not progress, leave=False):
        if wanted is not None and len(accepted) >= wanted:
            break
        prompt = make_prompt(seeds, ask=ask, accepted=accepted, **options)
        if ask == len(log):
            log.append(_ask(teacher, prompt, ask))
            _append(Path(path), log[ask])
        if log[ask].get("prompt") != prompt:
            raise ValueError(
                f"{path}, line {ask + 1}: the reply to another prompt; use the seeds and "
                "settings that this file was made with, or another path"
            )
        for one in parse_tasks(log[ask]["reply"], start=shots + 1, **limits):
            reason, note = one.reason, ""
            if not reason:
                text = " ".join(one.task[name] for name in fields)
                reason = (check(dict(one.task)) if check else None) or ""
                if not reason and (twin := pool.twin(text)):
                    reason, note = "near-duplicate", f"{twin[0]:.2f} {twin[1]}"
            if not reason:
                pool.add(text)
                accepted.append(one.task)
            report.candidates.append(replace(one, reason=reason, note=note, ask=ask))
        report.curve.append(len(accepted))
    return report


def _ask(teacher: Callable[[str], str], prompt: str, ask: int) -> dict[str, Any]:
    reply = teacher(prompt)
    if not isinstance(reply, str):
        raise TypeError(f"the teacher returned {type(reply).__name__}, expected a text")
    # Half a surrogate pair cannot be written as UTF-8: it becomes U+FFFD, and is told.
    reply = reply.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return {"ask": ask, "prompt": prompt, "reply": reply}


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line, and return when it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _read_log(path: Path) -> list[dict[str, Any]]:
    """Read the replies so far; a last line that broke off in mid-write is cut."""
    if not path.exists():
        return []
    data, first = path.read_bytes(), b'{"ask": 0, "prompt": "'
    if not (data.startswith(first) or first.startswith(data)):
        raise ValueError(f"{path}: not a file of a teacher's replies, use another path")
    if not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)
    log = load_jsonl(path)
    for i, row in enumerate(log):
        if row.get("ask") != i or not isinstance(row.get("reply"), str):
            raise ValueError(f"{path}: line {i + 1} is not reply {i}; did two runs write?")
    return log
