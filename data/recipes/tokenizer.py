"""Train the tokenizer: SentencePiece BPE, 7,168 pieces, byte fallback.

No dummy prefix: a word at the start of a line has no leading-space piece.  In a
conversation each message follows a space, so the first word of an answer is the same
piece as inside a text, and a name can be copied from the question as it stands.  A
newline is the byte token <0x0A>, as in Llama 2.

Run it:  python -m data.recipes.tokenizer
"""

from __future__ import annotations

import argparse
import io
import random
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from data.recipes.corpus import CONTROL, plain_text, story
from helpers import rules

ROOT = Path(__file__).resolve().parents[2]
PIECES = 7168  # as many as fit: with them the weights take 20.7 MB
NOUNS = ("girl", "boy", "animal", "thing", "place")
CUT = "\N{SYMBOL FOR UNIT SEPARATOR}"
ALONE = 800  # how often a noun comes alone: enough to earn a piece
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n ' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


@lru_cache(maxsize=1)
def korean_noun() -> re.Pattern:
    """Match a noun of the Korean lists with something written on behind it."""
    nouns = {w for name in (*NOUNS, "food") for w in rules.words(name, "ko")}
    longest_first = "|".join(sorted(nouns, key=len, reverse=True))
    return re.compile(f"(?<![가-힣])({longest_first})(?=[가-힣])")


def training_lines(documents: int, seed: int) -> Iterator[str]:
    """Yield lines to learn pieces from, with ``CUT`` where no piece may reach across.

    Korean nouns are cut from their particles, so that 민재는 and 민재가 share the
    piece of the name.  Each document brings a story, for stories are what the model
    writes most.  The nouns also come alone, so that each has a piece for the start of
    a line, where no space precedes it, and one for the middle.
    """
    rng = random.Random(seed)
    for _ in range(documents):
        text = plain_text(rng) + "\n" + story(rng, rng.choice(("en", "en", "ko"))).text
        for line in text.split("\n"):
            if line:
                yield korean_noun().sub(rf"\1{CUT}", line)
    alone = {w for name in NOUNS for language in ("en", "ko") for w in rules.words(name, language)}
    alone = alone.union(*rules.RELATIONS.values())
    for word in sorted(alone):
        yield from [word, " " + word] * ALONE


def train_tokenizer(folder: Path, *, documents: int = 24_000, seed: int = 1):
    """Train on freshly generated documents and save in the Hugging Face layout.

    Args:
        folder: where tokenizer.model, tokenizer.json and the configuration go.
        documents: how many documents to learn the pieces from.
        seed: of the documents.

    Returns:
        The fast tokenizer, loaded from ``folder``.
    """
    import sentencepiece as spm
    from transformers import AutoTokenizer, LlamaTokenizerFast

    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=training_lines(documents, seed), model_writer=model, model_type="bpe",
        vocab_size=PIECES, byte_fallback=True, character_coverage=1.0,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=False, split_digits=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=3, control_symbols=CONTROL,
        pretokenization_delimiter=CUT,
        max_sentence_length=20_000, num_threads=2, minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    tokenizer = LlamaTokenizerFast(
        vocab_file=str(folder / "tokenizer.model"), pad_token="<pad>",
        additional_special_tokens=CONTROL, add_prefix_space=False, legacy=False,
        model_max_length=512, padding_side="left", chat_template=CHAT_TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "data/models/tiny-tale")
    args = parser.parse_args()
    tokenizer = train_tokenizer(args.folder)
    print(f"{len(tokenizer)} pieces written to {args.folder.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
