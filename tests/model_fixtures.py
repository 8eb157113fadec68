"""A tokenizer and a model of random weights, small enough for every test."""

import json
from functools import lru_cache
from types import SimpleNamespace

CONTROL = ["<unk>", "<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>"]
TEXT = """Lily found a magic kite in the garden. She smiled and ran to the river.
Once upon a time a small fox lived near the hill. "Look!" said Tom. The fox was glad.
One day a little girl named Mia went to the park with her friend. They played all day.
"""


@lru_cache(maxsize=1)
def tiny_tokenizer():
    """Return a byte-fallback BPE tokenizer of 423 pieces, built like the course's."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    space = normalizers.Replace(" ", "▁")
    learner = Tokenizer(models.BPE())
    learner.normalizer = space
    learner.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)"), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=230, show_progress=False)
    learner.train_from_iterator(TEXT.splitlines(), trainer)
    learned = json.loads(learner.to_str())["model"]
    pieces = CONTROL + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += sorted(learned["vocab"], key=learned["vocab"].get)
    vocab = {piece: number for number, piece in enumerate(pieces)}
    merges = [tuple(merge) for merge in learned["merges"]]
    model = models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = space
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in CONTROL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=CONTROL[4:],
    )


@lru_cache(maxsize=1)
def tiny_model():
    """Return a Llama of random weights , neither flat nor sharp in its guesses."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=160,
        initializer_range=0.15,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    return LlamaForCausalLM(config).eval()


class ScriptedModel:
    """A fake model that knows its texts by heart: each token has one follower.

    No token may have two followers in the texts. `sizes` lists the rows of each call.
    """

    def __init__(self, *texts):
        import torch

        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.config, self.sizes = tiny_model().config, []
        self.generation_config = SimpleNamespace(eos_token_id=[2])
        self.follower = torch.full((len(tiny_tokenizer()),), 2)
        for text in texts:
            ids = encode(text)
            for token, after in zip(ids, [*ids[1:], 2]):
                assert self.follower[token] in (2, after), f"{text!r} contradicts"
                self.follower[token] = after

    def __call__(self, input_ids, **_):
        import torch

        self.sizes.append(len(input_ids))
        after = self.follower[input_ids[:, -1:]]
        logits = 20 * torch.nn.functional.one_hot(after, len(self.follower)).float()
        return SimpleNamespace(logits=logits)


def encode(text):
    """Return the ids of plain text, with no BOS."""
    options = {"add_special_tokens": False, "split_special_tokens": True}
    return tiny_tokenizer()(text, **options).input_ids
