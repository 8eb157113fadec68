"""Models for tests of chats: one that recites, one like llama.cpp, and a GGUF file."""

import copy
from functools import lru_cache
from types import SimpleNamespace

from tests.model_fixtures import CONTROL, encode, tiny_model, tiny_tokenizer

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + "
    "message['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
END = 2  # </s>
LONG = "=" * 40  # a piece of more bytes than llama-cpp-python expects


@lru_cache(maxsize=1)
def chat_tokenizer():
    """Return the tiny tokenizer with the course's chat template."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@lru_cache(maxsize=2)
def chat_model(n_ctx=160):
    """Return the tiny model, for longer texts if need be."""
    model = copy.deepcopy(tiny_model())
    model.config.max_position_embeddings = n_ctx
    return model


class Script:
    """What a fake model is to say: ids, and errors to raise in between."""

    def __init__(self, *parts):
        self.items = []
        for part in parts:
            self.items += encode(part) if isinstance(part, str) else [part]
        self.items.append(END)

    def next(self):
        """Return the next id, or raise the next error."""
        item = self.items.pop(0)
        if isinstance(item, int):
            return item
        raise item


class Reciter:
    """A transformers model that recites `script`, whatever it is asked."""

    def __init__(self, room=160):
        import torch

        self.config = SimpleNamespace(max_position_embeddings=room)
        self.device = torch.device("cpu")
        self.generation_config = SimpleNamespace(eos_token_id=END)
        self.script = None

    def eval(self):
        return self

    def __call__(self, input_ids, **_):
        import torch

        ids = torch.tensor([[self.script.next()]])
        return SimpleNamespace(
            logits=20 * torch.nn.functional.one_hot(ids, len(tiny_tokenizer())).float()
        )


class FakeLlama:
    """As much of `llama_cpp.Llama` as a chat uses; it recites `script`."""

    def __init__(self, template=TEMPLATE, room=160):
        from helpers.streaming import token_bytes

        self.metadata = {"tokenizer.chat_template": template} if template else {}
        self.eval_tokens, self.seeds, self.settings = [], [], []
        self.script, self._bytes = None, token_bytes(tiny_tokenizer())
        self.input_ids = [0] * room

    def n_ctx(self):
        return 512  # llama.cpp rounds up

    def n_vocab(self):
        return len(tiny_tokenizer())

    def token_bos(self):
        return 1

    def token_eos(self):
        return END

    def tokenize(self, text, add_bos=True, special=False):
        assert not add_bos, "the template writes it, if any"
        options = {"add_special_tokens": False, "split_special_tokens": not special}
        return tiny_tokenizer()(text.decode(), **options).input_ids

    def detokenize(self, tokens, prev_tokens=None, special=False):
        shown = [i for i in tokens if special or i >= len(CONTROL)]
        return b"".join(self._bytes(i) for i in shown)

    def set_seed(self, seed):
        self.seeds.append(seed)

    def reset(self):
        self.eval_tokens = []

    def generate(self, tokens, **settings):
        self.settings.append(settings)
        self.eval_tokens = list(tokens)
        while True:
            token = self.script.next()
            yield token
            self.eval_tokens.append(token)


def write_gguf(path, model, template=TEMPLATE, n_ctx=160):
    """Write a tiny Llama and the tiny tokenizer as a GGUF file."""
    import gguf
    import torch

    c, state = model.config, model.state_dict()
    pieces = tiny_tokenizer().convert_ids_to_tokens(range(c.vocab_size)) + [LONG]
    kinds, control = gguf.TokenType, len(CONTROL)
    types = [kinds.UNKNOWN] + [kinds.CONTROL] * (control - 1) + [kinds.BYTE] * 256
    types += [kinds.NORMAL] * (len(pieces) - len(types))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(i) for i in range(len(pieces))])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(3)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    if template:
        writer.add_chat_template(template)
    embedding = state["model.embed_tokens.weight"]
    row = torch.zeros(1, c.hidden_size)
    writer.add_tensor("token_embd.weight", torch.cat([embedding, row]).numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    names = {
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    heads = {"attn_q": c.num_attention_heads, "attn_k": c.num_key_value_heads}
    for layer in range(c.num_hidden_layers):
        for theirs, ours in names.items():
            weight = state[f"model.layers.{layer}.{theirs}.weight"].numpy()
            if n := heads.get(ours):  # llama.cpp turns neighbours, not halves
                rows, width = weight.shape
                weight = weight.reshape(n, 2, rows // n // 2, width)
                weight = weight.swapaxes(1, 2).reshape(rows, width).copy()
            writer.add_tensor(f"blk.{layer}.{ours}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
