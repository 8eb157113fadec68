"""Random Llamas and SentencePiece tokenizers for tests of GGUF files."""

import atexit
import copy
import tempfile
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "data" / "models" / "tiny-tale"
CONTROL = ["<|system|>", "<|user|>", "<|assistant|>"]
LINES = [
    "Lily found a magic kite in the garden. She smiled and ran to the river.",
    "옛날 옛적에 작은 여우가 살았어요. 여우는 매일 숲을 걸었어요.",
    "def f(x): return x  # 1234 </i> <s=1> |> !=",
] * 8
SHAPES = {  # one for each thing that a Llama may have otherwise
    "plain": {},
    "grouped heads": {"num_key_value_heads": 2},
    "own output": {"tie_word_embeddings": False},
    "wide heads": {"head_dim": 24},
    "biases": {"attention_bias": True},
    "other constants": {"rope_theta": 500.0, "rms_norm_eps": 1e-3},
}


@lru_cache(maxsize=1)
def shipped_tokenizer():
    """Return the course's own tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(SHIPPED)


def tiny_llama(size, *, hidden_size=64, **options):
    """Return a Llama of random weights for `size` tokens, in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    shape |= {"hidden_size": hidden_size, "intermediate_size": 2 * hidden_size}
    shape |= {"max_position_embeddings": 192, "initializer_range": 0.15}
    shape |= {"tie_word_embeddings": True, "pad_token_id": 3}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=size, **shape | options)).eval()
    with torch.no_grad():  # what begins as ones or zeros would hide a mistake
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight += 0.2 * torch.randn_like(weight)
    return model


@lru_cache(maxsize=1)
def small_tokenizer():
    """Return a tokenizer of 420 pieces, with the course's control tokens."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    tokenizer = new_tokenizer(Path(folder.name))
    tokenizer.chat_template = shipped_tokenizer().chat_template
    return tokenizer


@lru_cache(maxsize=None)
def small_pair(shape="plain", hidden_size=64):
    """Return a random Llama of one of `SHAPES` and the small tokenizer."""
    tokenizer = small_tokenizer()
    options = SHAPES[shape] | {"hidden_size": hidden_size}
    return tiny_llama(len(tokenizer), **options), tokenizer


@lru_cache(maxsize=1)
def shipped_pair():
    """Return a random Llama and the course's tokenizer."""
    tokenizer = shipped_tokenizer()
    return tiny_llama(len(tokenizer)), tokenizer


def new_tokenizer(folder, *, lines=LINES, control=CONTROL, prefix=False, **options):
    """Train a SentencePiece tokenizer, BPE unless told otherwise, and load it."""
    import sentencepiece
    from transformers import LlamaTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    chosen = {"vocab_size": 420, "model_type": "bpe", "byte_fallback": True}
    chosen |= {"character_coverage": 1.0, "hard_vocab_limit": False}
    chosen |= {"add_dummy_prefix": prefix, "normalization_rule_name": "identity"}
    chosen |= {"remove_extra_whitespaces": False, "minloglevel": 2, "pad_id": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / "tokenizer"),
        control_symbols=control,
        **chosen | options,
    )
    return LlamaTokenizerFast(
        vocab_file=str(folder / "tokenizer.model"),
        pad_token="<pad>",
        additional_special_tokens=control,
        add_prefix_space=prefix,
        legacy=False,
    )


def copied(tokenizer):
    """Return a copy of a tokenizer, to be changed."""
    return copy.deepcopy(tokenizer)
