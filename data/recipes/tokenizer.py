"""Train the tokenizer: SentencePiece BPE, 6,144 pieces, byte fallback.

No dummy prefix: a word at the start of a line has no leading-space piece, so
the first word of an answer is the same token in a story and after a control
token.  A newline is the byte token <0x0A>, as in Llama 2.

Run it:  python -m data.recipes.tokenizer
"""

from __future__ import annotations

import argparse
import io
import random
from pathlib import Path

from data.recipes.corpus import CONTROL, plain_text

ROOT = Path(__file__).resolve().parents[2]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def train_tokenizer(folder: Path, *, documents: int = 30_000, seed: int = 1):
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

    rng = random.Random(seed)
    lines = (line for _ in range(documents)
             for line in plain_text(rng).split("\n") if line)
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, model_type="bpe",
        vocab_size=6144, byte_fallback=True, character_coverage=1.0,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=False, split_digits=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=3, control_symbols=CONTROL,
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
