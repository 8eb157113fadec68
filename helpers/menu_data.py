"""Data for a menu chatbot that come from elsewhere than the generator, and its pairs.

Self-instruct tasks are checked against the menu and turned into conversations; of a
generated task DPO gets a better and a worse reply.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from helpers import menu_lookup, plotting
from helpers.dishes import dishes_in, load_dishes
from helpers.menu_lookup import ask
from helpers.menu_tasks import MenuTask, recommend, talk
from helpers.messages import Messages
from helpers.self_instruct import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_task", "make_pairs", "report_figure", "task_rows"]

TASTES = {  # how each taste begins in a sentence
    "매운": "맵|매운|매콤|매워", "얼큰한": "얼큰", "담백한": "담백", "고소한": "고소",
    "구수한": "구수", "달콤한": "달콤|달달", "새콤한": "새콤", "짭짤한": "짭짤|짭조름",
    "바삭한": "바삭", "쫄깃한": "쫄깃", "부드러운": "부드",
}


def check_task(task: Mapping[str, str]) -> str | None:
    """Return why a task that a teacher wrote is of no use here, None if it is.

    For `self_instruct.collect`. A query has to be in the words of the menu; all else
    has to be about one of its dishes, and to say nothing false of it.

    >>> check_task({"instruction": "값은?", "input": "김밥", "output": "9,000원이에요."})
    'untrue'
    """
    if task["instruction"] == menu_lookup.FIND:
        limits, unread = menu_lookup.read_query(menu_lookup.QUERY + task["output"])
        return None if limits and not unread else "not in the menu's words"
    names = dishes_in(" . ".join((task["instruction"], task["input"], task["output"])))
    if not names:
        return "no dish"
    known = [dish for dish in load_dishes() if dish.name in names]
    cards = " ".join(map(menu_lookup.write_card, known))
    wrong = menu_lookup.amounts(task["output"]) - menu_lookup.amounts(cards)
    wrong |= {taste for taste, stems in TASTES.items()
              if taste not in cards and re.search(stems, task["output"])}
    wrong |= {kind for kind in ("한식", "중식", "일식", "양식", "분식")
              if kind not in cards and kind in task["output"]}
    return "untrue" if wrong else None


def task_rows(tasks: Sequence[Mapping[str, str]]) -> list[dict[str, Messages]]:
    """Return self-instruct tasks as conversations to learn from.

    The input stands below the instruction. Tasks without an input are left out: they
    are requests, and the chatbot is to look a dish up before it answers one.
    """
    rows = []
    for task in tasks:
        query = menu_lookup.QUERY if task["instruction"] == menu_lookup.FIND else ""
        asked = f"{task['instruction']}\n{task['input']}"
        if task["input"]:
            rows.append({"messages": talk(asked, query + task["output"])})
    return rows


def make_pairs(tasks: Sequence[MenuTask], *, seed: int = 0) -> list[dict[str, Messages]]:
    """Return preferences for replies that are complete and polite, as DPO takes them.

    Of each task of the kinds "dish" and "again" the better reply has two reasons and a
    wish, the other one reason at most and none.
    """
    dice, pairs = random.Random(f"{seed} pairs"), []
    for task in tasks:
        if task.kind in ("dish", "again"):
            [dish] = [d for d in load_dishes() if menu_lookup.write_card(d) == task.card]
            again = {"again": task.kind == "again"}
            better = recommend(dice, dish, task.limits, reasons=2, wish=True, **again)
            count = dice.choice((0, 1))
            worse = recommend(dice, dish, task.limits, reasons=count, wish=False, **again)
            asked = ask(task.request, task.card)
            prompt = [*task.history, {"role": "user", "content": asked}]
            ends = ({"role": "assistant", "content": text} for text in (better, worse))
            chosen, rejected = ([end] for end in ends)
            pairs.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return pairs


def report_figure(report: Report) -> Figure:
    """Draw how many tasks a teacher wrote, and how many of them were kept, ask by ask."""
    asks = range(1, len(report.curve) + 1)
    counts = [sum(one.ask + 1 == ask for one in report.candidates) for ask in asks]
    curves = {"written": (asks, [*accumulate(counts)]), "kept": (asks, report.curve)}
    return plotting.lines(curves, xlabel="asks", ylabel="tasks")
