"""Write the held-out sets: stories, few-shot prompts and what they keep back.

Made once; the corpus never contains them.  Held-out dishes carry
``"split": "heldout"`` in data/menus/dishes.jsonl.

Run it:  python -m data.recipes.heldout
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

from helpers import rules, tasks
from helpers.data_utils import save_jsonl
from helpers.tales import is_heldout, make_tale

DATA = Path(__file__).resolve().parents[1]
SHOTS = (0, 1, 2, 4, 8)


def heldout_tales(language: str, *, number: int, seed: int = 7) -> list[dict]:
    """Tell ``number`` stories whose (hero, thing) pair is never trained on."""
    rng = random.Random(f"{seed}-{language}")
    rows = []
    while len(rows) < number:
        tale = make_tale(rng, language=language)
        if is_heldout(tale):
            rows.append({"text": tale.text, "hero": tale.hero, "thing": tale.thing,
                         "plot": tale.plot})
    return rows


def heldout_prompts(*, each: int, seed: int = 7) -> list[dict]:
    """Write ``each`` prompts for every family and number of shots."""
    rng = random.Random(seed)
    return [asdict(tasks.make_prompt(rng, family, shots=shots))
            for family in tasks.FAMILIES for shots in SHOTS for _ in range(each)]


def main() -> None:
    for language, number in (("en", 200), ("ko", 150)):
        save_jsonl(DATA / "tales" / f"heldout_{language}.jsonl",
                   heldout_tales(language, number=number))
    save_jsonl(DATA / "tasks" / "heldout.jsonl", heldout_prompts(each=10))
    kept = {"formats": tasks.HELDOUT_FORMATS, "patterns": rules.HELDOUT_PATTERNS,
            "sentences": rules.kept(rules.PICK["en"], 2, "heldout"),
            "label_words": rules.words("thing", "en", "heldout")}
    (DATA / "tasks" / "kept_back.json").write_text(
        json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
