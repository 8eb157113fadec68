"""helpers.acceptance: whole files judged, and every check seen to pass and to fail."""

import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest

from helpers import acceptance, acceptance_speed, acceptance_talk, acceptance_trial
from helpers.acceptance import CHECKS, DEMO_GATE, Check, Scorecard, judge, main
from helpers.acceptance_file import check_format, check_licence, check_metadata
from helpers.acceptance_file import check_round_trip, check_template
from helpers.acceptance_speed import check_gpu, check_memory, check_speed, check_threads
from helpers.acceptance_speed import kv_bytes, read_bytes
from helpers.acceptance_talk import check_conversation, check_greedy, check_long_chat
from helpers.acceptance_talk import check_needle, check_temperatures
from helpers.acceptance_trial import open_candidate, try_file
from helpers.backends import make_backend
from helpers.chat_templates import Family
from helpers.gguf_utils import TensorInfo, inspect, write_gguf
from tests.gguf_fixtures import ROOT, copied, small_tokenizer, tiny_llama

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (an extra)")
NAMES = [name for names in CHECKS for name in names]
TURN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module", autouse=True)
def small_machine():
    """Give llama.cpp one thread, and measure the bandwidth on a small matrix."""
    patch, real = pytest.MonkeyPatch(), acceptance_speed.bandwidth.measure_bandwidth
    quick = lambda: real(megabytes=8, repeats=1)  # noqa: E731
    patch.setattr(acceptance_speed.os, "cpu_count", lambda: 1)
    patch.setattr(acceptance_speed.bandwidth, "measure_bandwidth", quick)
    yield
    patch.undo()


def pair():
    """Return a random Llama and its tokenizer, with room for some turns."""
    tokenizer = copied(small_tokenizer())
    return tiny_llama(len(tokenizer), max_position_embeddings=512), tokenizer


@pytest.fixture(scope="module")
def chat_file(tmp_path_factory):
    """A random Llama in the course's chat format."""
    path = tmp_path_factory.mktemp("acceptance") / "tiny-chat.gguf"
    return write_gguf(pair(), path, name="Tiny <b>", license="cc0-1.0")


@pytest.fixture(scope="module")
def base_file(tmp_path_factory):
    """The same without a chat template."""
    model, tokenizer = pair()
    tokenizer.chat_template = None
    path = tmp_path_factory.mktemp("acceptance") / "base.gguf"
    return write_gguf((model, tokenizer), path, name="Tiny", license="cc0-1.0")


@pytest.fixture(scope="module")
def model(chat_file):
    """The chat model, opened, with next to no time for the checks."""
    found = open_candidate(chat_file, seconds=0.01)
    yield found
    found.llm.close()


def told(model, **facts):
    """Return the candidate with other facts in its file; None takes one out."""
    changes = {key.replace("__", "."): value for key, value in facts.items()}
    metadata = {**model.info.metadata, **changes}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    return replace(model, info=replace(model.info, metadata=metadata))


def with_template(model, template):
    return replace(model, backend=make_backend(model.llm, family=Family("", template)))


class Says:
    """A backend that answers as a function tells: (setting, number of answer)."""

    cached, stop_strings = 0, ()

    def __init__(self, real, answer, finish=True):
        self.encode, self.ends, self.n_ctx = real.encode, real.ends, real.n_ctx
        self.answer, self.finish, self.n = answer, finish, 0

    def forget(self):
        pass

    def stream(self, prompt, *, max_new_tokens, **setting):
        self.n += 1
        for word in self.answer(setting, self.n).split(" ")[:max_new_tokens]:
            yield 9, f"{word} ".encode()
        if self.finish:
            yield 2, None


def saying(model, answer, *, finish=True, **changes):
    return replace(model, backend=Says(model.backend, answer, finish), **changes)


def five_words(_, n):
    return " ".join(f"w{n}x{i}" for i in range(5))


def write_qwen2(path, *, template=CHATML):
    """Write a tiny Qwen 2 of random weights, with a byte-level vocabulary."""
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    tokens = [*bytes_to_unicode().values(), "Ġt", "he"]
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    kinds = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * 3
    tokens += control
    dice, wide, inner, kv = np.random.default_rng(0), 32, 64, 16
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("Tiny Qwen")
    writer.add_license("apache-2.0")
    writer.add_context_length(512)
    writer.add_embedding_length(wide)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_token_merges(["Ġ t", "h e"])
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    if template:
        writer.add_chat_template(template)
    shapes = {"token_embd.weight": (len(tokens), wide), "output_norm.weight": (wide,)}
    block = {"attn_norm.weight": (wide,), "ffn_norm.weight": (wide,)}
    block |= {"attn_q.weight": (wide, wide), "attn_output.weight": (wide, wide)}
    block |= {"attn_k.weight": (kv, wide), "attn_v.weight": (kv, wide)}
    block |= {"attn_q.bias": (wide,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
    block |= {"ffn_gate.weight": (inner, wide), "ffn_up.weight": (inner, wide)}
    block |= {"ffn_down.weight": (wide, inner)}
    shapes |= {f"blk.0.{name}": shape for name, shape in block.items()}
    for name, shape in shapes.items():
        writer.add_tensor(name, dice.normal(0, 0.3, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# Whole files


def test_a_chat_model_is_judged_in_silence(chat_file, capfd):
    heard = []
    card = judge(chat_file, seconds=0.01, heard=heard.append)
    assert capfd.readouterr() == ("", "")
    assert [check.name for check in card.checks] == NAMES == [c.name for c in heard]
    sure = ["loads", "model", "licence", "chat format", "template", "greedy"]
    sure += ["Korean and emoji", "memory", "many turns", "trimming"]
    assert {name: card[name].status for name in sure} == dict.fromkeys(sure, "passed")
    assert "F16" in card["model"].found and "512" in card["model"].found
    assert card["model"].figures["parameters"] == card_weights(chat_file)
    assert "the file has a template" in card["chat format"].found
    assert "</s> ends a turn" in card["template"].found
    assert not card.ok  # random weights know nothing
    assert card["long context"].status == "failed"
    assert card.file == "tiny-chat.gguf" and "Tiny <b>" in card["model"].found
    assert "\u21b5" in card["chat format"].found  # 'Hi.' as the template writes it


def card_weights(path):
    return sum(t.n_elements for t in gguf.GGUFReader(path).tensors)


def test_a_base_model_is_judged_by_how_it_continues(base_file, monkeypatch):
    monkeypatch.setattr(acceptance_trial, "try_file", lambda *_, **__: 1.0)
    card = judge(base_file, seconds=0.01)
    for name in ("chat format", "template"):
        assert card[name].status == "skipped"
    assert "judged as a base model" in card["chat format"].found
    assert "no turns to end" in card["stops"].found
    assert card["stops"].status == "passed"
    assert card["trimming"].status == "passed" == card["many turns"].status


def test_another_architecture_is_judged(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(acceptance_trial, "try_file", lambda *_, **__: 1.0)
    card = judge(write_qwen2(tmp_path / "q.gguf"), seconds=0.01)
    assert capfd.readouterr() == ("", "")
    sure = ["model", "licence", "chat format", "template", "Korean and emoji"]
    sure += ["greedy", "memory", "many turns", "trimming"]
    assert {name: card[name].status for name in sure} == dict.fromkeys(sure, "passed")
    assert card["model"].found.startswith("Tiny Qwen: qwen2, ")
    assert "<|im_start|>user↵Hi.<|im_end|>" in card["chat format"].found
    assert "<|im_end|> ends a turn" in card["template"].found


def test_a_template_that_fails_leaves_the_rest_to_be_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(acceptance_trial, "try_file", lambda *_, **__: 1.0)
    path = write_qwen2(tmp_path / "q.gguf", template="{{ nothing.at.all }}")
    card = judge(path, seconds=0.01)
    assert card["template"].status == "failed"
    assert "its template fails: judged as a base model" in card["chat format"].found
    assert "cannot write these messages" in card["template"].found
    assert "no turns to end" in card["stops"].found


def test_the_demo_gate_and_every_check_are_there():
    assert len(DEMO_GATE) == 9 and set(DEMO_GATE) < set(NAMES)
    assert len(set(NAMES)) == len(NAMES)


# Files that cannot be judged


def refused(path, capfd):
    """Judge a file by the command; return the one line that it gets."""
    assert main([str(path)]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    return err


def test_files_that_are_none_or_cut_off_get_one_sentence(chat_file, tmp_path, capfd):
    path, whole = tmp_path / "a.gguf", chat_file.read_bytes()
    assert "there is no file" in refused(path, capfd)
    path.write_text("not a model at all")
    assert "is not a GGUF file" in refused(path, capfd)
    for length in (4, 30, len(whole) // 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "is damaged" in refused(path, capfd)
    path.write_bytes(whole[:8] + b"\xfe" * 8 + whole[16:])
    assert "is damaged" in refused(path, capfd)


def test_weights_that_are_no_numbers_get_one_sentence(chat_file, tmp_path, capfd):
    path, whole = tmp_path / "a.gguf", bytearray(chat_file.read_bytes())
    reader = gguf.GGUFReader(chat_file)
    tensor = next(t for t in reader.tensors if t.name == "blk.0.attn_q.weight")
    whole[tensor.data_offset : tensor.data_offset + 2] = b"\x00\x7e"  # NaN in float16
    path.write_bytes(whole)
    assert "is damaged (the model answers with no numbers)" in refused(path, capfd)


def test_a_file_that_makes_llama_cpp_crash_gets_one_sentence(chat_file, tmp_path, capfd):
    path = tmp_path / "a.gguf"  # two tokens of one text: llama.cpp aborts
    path.write_bytes(chat_file.read_bytes().replace(b"<0x41>", b"<0x42>", 1))
    assert "makes llama.cpp crash" in refused(path, capfd)


def test_a_control_token_that_is_no_text_gets_one_sentence(chat_file, tmp_path, capfd):
    path, whole = tmp_path / "a.gguf", bytearray(chat_file.read_bytes())
    at = whole.index(key := b"tokenizer.ggml.bos_token_id") + len(key) + 4  # its type
    half = inspect(chat_file).metadata["tokenizer.ggml.tokens"].index("<0xEC>")
    whole[at : at + 4] = half.to_bytes(4, "little")  # half a Korean letter
    path.write_bytes(whole)
    assert "is damaged (a control token is no text" in refused(path, capfd)


def test_a_template_that_is_no_jinja_gets_one_sentence(chat_file, tmp_path, capfd):
    path, whole = tmp_path / "a.gguf", chat_file.read_bytes()
    path.write_bytes(whole.replace(b"{% if add_", b"{% of add_"))
    assert "chat template that is no Jinja" in refused(path, capfd)


def test_other_ways_to_fail_a_trial(chat_file, monkeypatch, capfd):
    def found(returncode=0, **answer):
        done = SimpleNamespace(returncode=returncode, stdout=json.dumps(answer))
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)

    found(kind="import", error="llama-cpp-python cannot be used: run `make lab`")
    assert "run `make lab`" in refused(chat_file, capfd)
    found(rss_mb=7.0)
    assert try_file(chat_file) == 7.0

    def forever(*_, timeout, **__):
        raise subprocess.TimeoutExpired("llama.cpp", timeout)

    monkeypatch.setattr(subprocess, "run", forever)
    assert "does not come to an end within 600 s" in refused(chat_file, capfd)


def test_a_part_of_a_model_gets_one_sentence(tmp_path, capfd):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert "is one of 3 parts of a model" in refused(tmp_path / "a.gguf", capfd)


def test_a_model_that_writes_no_texts_is_told(model, monkeypatch):
    import llama_cpp

    monkeypatch.setattr(llama_cpp, "llama_get_logits_ith", lambda *_: None)
    with pytest.raises(RuntimeError, match="the model writes no texts"):
        acceptance_trial.last_logits(model.llm)
    monkeypatch.setattr(llama_cpp, "llama_get_memory", lambda *_: None)
    found = acceptance_trial._try_here(str(model.info.path), 64)
    assert "cannot be judged: the model writes no texts" in found["error"]


def test_bad_options_get_one_sentence(chat_file, capfd):
    for options in (["--family", "chatlm"], ["--n-ctx", "9"]):
        assert main([str(chat_file), *options]) == 2
        assert " expected " in capfd.readouterr().err


# Checks of the file


def test_a_type_that_the_weights_do_not_have_fails(model):
    [(passed, said, figures)] = check_metadata(model)
    assert passed and figures["type"] == "F16" and figures["context"] == 512
    wrong = told(model, general__file_type=int(gguf.LlamaFileType.MOSTLY_Q4_K_M))
    [(passed, said, _)] = check_metadata(wrong)
    assert passed is False and "the bits are not those of Q4_K_M" in said
    assert check_metadata(told(model, general__file_type=None))[0][0]


def test_no_licence_fails(model):
    assert check_licence(model)[0][:2] == (True, "cc0-1.0")
    [(passed, said, _)] = check_licence(told(model, general__license=None))
    assert passed is False and "names none" in said


def test_a_chat_model_without_a_template_fails(model):
    base, bare = replace(model, chat=False), {"tokenizer__chat_template": None}
    assert check_format(told(base, general__name="Tiny", **bare))[0][0] is None
    for name in ("Tiny-Instruct-v2", "gemma-2b-it", "TinyLlama 1.1B Chat"):
        [(passed, said, _)] = check_format(told(base, general__name=name, **bare))
        assert passed is False and name in said
    [(passed, said, _)] = check_format(replace(model, family="zephyr"))
    assert passed and said.startswith("zephyr, because you asked for it: 'Hi.' becomes")
    asked = check_format(replace(base, family="plain"))[0]
    assert asked[0] is None and "you asked for plain text" in asked[1]


def test_a_template_has_to_run_and_to_end_turns_with_a_token_that_stops(model):
    [(passed, said, _)] = check_template(model)
    assert passed and "</s> ends a turn" in said
    ended = TURN + "{{ eos_token }}{% endfor %}"
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    [(passed, said, _)] = check_template(with_template(model, refuses + ended))
    assert passed and "refuses a system message" in said
    drops = ended.replace("%}<|", "%}{% if m.role == 'system' %}{% continue %}{% endif %}<|")
    for template, wrong in {
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}": "no control",
        TURN + "{% endfor %}": "does not stop",
        drops: "leaves out the system's",
    }.items():
        [(passed, said, _)] = check_template(with_template(model, template))
        assert passed is False and wrong in said
    with pytest.raises(ValueError, match="cannot write these messages"):
        check_template(with_template(model, "{{ a.b.c }}"))


def test_tokens_that_lose_letters_fail(model):
    assert check_round_trip(model)[0][0]
    lossy = SimpleNamespace(
        tokenize=lambda text, **_: list(text),
        detokenize=lambda ids, **_: bytes(i for i in ids if i < 128),
    )
    [(passed, said, _)] = check_round_trip(replace(model, llm=lossy))
    assert passed is False and said.startswith("Korean comes back changed")


# Checks of the cost


def test_memory_beyond_the_calculation_fails(model):
    [(passed, said, figures)] = check_memory(model)
    expected = model.info.n_weights * model.info.bits / 8 + 2 * 2 * 64 * 512 * 2
    assert passed and figures["predicted_mb"] == pytest.approx(expected / 1e6, rel=1e-3)
    assert check_memory(replace(model, rss_mb=1000.0))[0][0] is False


def test_cached_tokens_are_counted_by_the_file(model):
    assert kv_bytes(model) == 2 * 2 * 64 * 512 * 2  # k and v, layers, width, bytes
    grouped = told(model, llama__attention__head_count_kv=[2, 0])
    assert kv_bytes(grouped) == kv_bytes(model) / 4
    assert kv_bytes(told(model, llama__attention__head_count=None)) == 0


def test_only_active_weights_are_read(model):
    def info(name, n_bytes):
        return TensorInfo(name, "F16", (10, n_bytes // 20), n_bytes // 2, n_bytes)

    tensors = (info("token_embd.weight", 1000), info("blk.0.ffn_up_exps.weight", 800))
    some = replace(model.info, tensors=tensors)
    assert read_bytes(replace(model, info=some)) == 1800  # tied, dense
    some = replace(some, tensors=(*tensors, info("output.weight", 1000)))
    moe = told(replace(model, info=some), llama__expert_count=8)
    moe = told(moe, llama__expert_used_count=2)
    assert read_bytes(moe) == 100 + 200 + 1000


def test_the_fastest_threads_are_kept(model, monkeypatch):
    import llama_cpp

    rates = {1: 50.0, 2: 70.0, 4: 90.0}
    set_to = []
    monkeypatch.setattr(acceptance_speed.os, "cpu_count", lambda: 4)
    fake = SimpleNamespace(n_threads=2, ctx=None, n_ctx=lambda: 192)
    monkeypatch.setattr(llama_cpp, "llama_set_n_threads", lambda _, n, __: set_to.append(n))
    rate = lambda *_, **__: rates[set_to[-1]]  # noqa: E731
    monkeypatch.setattr(acceptance_speed.bandwidth, "decode_rate", rate)
    candidate = replace(model, llm=fake)
    [(passed, said, figures)] = check_threads(candidate)
    assert passed and "n_threads=4: 90" in said and figures["best"] == 4
    assert set_to == [1, 2, 4, 4] and candidate.rate == 90
    rates[2] = 40.0
    assert check_threads(candidate)[0][0] is False


def test_a_speed_far_below_the_law_or_a_reader_fails(model, monkeypatch):
    measured = 2e9
    monkeypatch.setattr(acceptance_speed.bandwidth, "measure_bandwidth", lambda: measured)
    monkeypatch.setattr(acceptance_speed, "read_bytes", lambda _: 1e7)  # 200 tokens/s
    for rate, expected in ((100.0, True), (300.0, True), (10.0, False), (4.0, False)):
        [(passed, said, figures)] = check_speed(replace(model, rate=rate))
        assert passed is expected and figures["bound"] == 200
    assert "slower than a person reads" in said
    monkeypatch.setattr(acceptance_speed, "read_bytes", lambda _: 1e3)
    assert check_speed(replace(model, rate=250.0))[0][0]  # overhead, not memory


def test_a_gpu_has_to_be_used(model, monkeypatch):
    import llama_cpp
    import torch

    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: False)
    for there, expected in ((False, None), (True, False)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: there)  # noqa: B023
        assert check_gpu(model)[0][0] is expected
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: True)
    options = []
    fake = SimpleNamespace(close=lambda: None)
    load = lambda path, **given: options.append(given) or fake  # noqa: E731
    monkeypatch.setattr(acceptance_speed, "load_llama", load)
    monkeypatch.setattr(acceptance_speed.bandwidth, "decode_rate", lambda *_, **__: 900.0)
    [(passed, said, _)] = check_gpu(model)
    assert passed and "900 tokens/s on the GPU" in said
    assert options[0]["n_gpu_layers"] == -1


# Checks of the talk


def test_five_prompts_flow_and_end(model, monkeypatch):
    script, stops, first = check_conversation(saying(model, five_words))
    assert script[0] and stops[0] and stops[2]["ended"] == 5
    assert script[2]["answers"][1] == "w2x0 w2x1 w2x2 w2x3 w2x4"
    cases = {
        "answer 1 is blank": lambda _, n: "",
        "answer 2 is that of an earlier prompt": lambda *_: "all the same",
        "answer 1 goes round in a loop": lambda _, n: "and then it " * 20,
    }
    for wrong, answer in cases.items():
        passed, said, _ = check_conversation(saying(model, answer))[0]
        assert passed is False and wrong in said
    assert check_conversation(saying(model, five_words, finish=False))[1][0] is False
    leaks = lambda _, n: f"Yes {n} </s> <|user|> No"  # noqa: E731
    passed, said, _ = check_conversation(saying(model, leaks))[1]
    assert passed is False and "as text" in said
    monkeypatch.setattr(acceptance_talk, "SOON", -1.0)
    monkeypatch.setattr(acceptance_talk, "FIVE_MINUTES", -1.0)
    script, _, first = check_conversation(saying(model, five_words))
    assert script[0] is False and "more than five minutes" in script[1]
    assert first[0] is False


def test_a_base_model_has_to_stop_at_a_stop_string(model):
    plain = {"chat": False, "finish": False}
    same = saying(model, lambda *_: "one two three four five six", **plain)
    stops = check_conversation(same)[1]
    assert stops[0] and stops[2]["stop"] == "four"
    other = check_conversation(saying(model, five_words, **plain))[1]
    assert other[0] is False  # the second text is another one
    assert check_conversation(saying(model, lambda *_: "a", **plain))[1][0] is False


def test_higher_temperatures_have_to_vary_more(model):
    def hot(setting, n):  # of five words, at 1.5 all are new in each draw
        new = {0.1: 0, 0.7: 2, 1.5: 5}[setting["temperature"]]
        return " ".join(f"w{i}" if i >= new else f"w{i}x{n}" for i in range(5))

    [(passed, said, figures)] = check_temperatures(saying(model, hot))
    assert passed and figures["0.1"] == 1 and figures["1.5"] == 0
    for wrong in (five_words, lambda *_: "the same words each time"):
        assert check_temperatures(saying(model, wrong))[0][0] is False
    cold = lambda s, n: hot({"temperature": {0.1: 1.5}.get(s["temperature"], 0.1)}, n)  # noqa: E731
    assert check_temperatures(saying(model, cold))[0][0] is False


def test_greedy_has_to_say_the_same_again(model):
    assert check_greedy(saying(model, lambda *_: "the same"))[0][0]
    [(passed, said, _)] = check_greedy(saying(model, five_words))
    assert passed is False and "writes another answer" in said


def test_turns_that_read_everything_again_fail(model):
    cost, trimming = check_long_chat(model)
    assert cost[0] and trimming[0] and trimming[2]["dropped"] > 0
    real = model.backend

    class Forgetful:
        n_ctx, cached, ends = real.n_ctx, 0, real.ends
        encode, forget = staticmethod(real.encode), staticmethod(real.forget)

        def stream(self, prompt, **setting):
            real.llm.reset()
            yield from real.stream(prompt, **setting)

    found, _ = check_long_chat(replace(model, backend=Forgetful()))
    assert found[0] is False and found[2]["read"] > 1.5 * cost[2]["read"]


def test_a_model_that_falls_silent_fails(model):
    talk = lambda _, n: "one two three four five six seven" if n < 30 else ""  # noqa: E731
    quiet = saying(model, talk, seconds=1e6)
    _, (passed, said, _) = check_long_chat(quiet)
    assert passed is False and "fell silent" in said
    for finding in check_long_chat(saying(model, lambda *_: "")):
        assert finding[0] is False and "nothing was said" in finding[1]


def test_a_word_has_to_be_found_at_every_depth(model, monkeypatch):
    def sharp(llm):  # what was read is likely; one word is always likelier
        logits = np.zeros(llm.n_vocab())
        logits[llm.input_ids[: llm.n_tokens]] = 1.0
        return logits + liked

    liked = np.zeros(model.llm.n_vocab())
    liked[acceptance_talk._ids(model, "a river")[-1]] = 9.0
    monkeypatch.setattr(acceptance_talk, "last_logits", sharp)
    [(passed, said, figures)] = check_needle(model)
    assert passed and [figures[d] for d in ("10%", "50%", "90%", "100%")] == [4] * 4
    monkeypatch.setattr(acceptance_talk, "last_logits", lambda llm: liked)
    assert check_needle(model)[0][0] is False
    near = lambda llm: sharp(llm) if len(seen.append(0) or seen) > 4 else liked  # noqa: E731
    seen = []
    monkeypatch.setattr(acceptance_talk, "last_logits", near)
    [(passed, _, figures)] = check_needle(model)
    assert passed is False and figures["90%"] == 4


# The scorecard


def card(*checks, file="a.gguf"):
    return Scorecard(file, checks, 2.0)


def test_pages_hold_names_as_text_and_need_no_other_file():
    evil = '<script>alert("1")</script>&amp;'
    page = card(Check("loads", "passed", evil, {}), file=evil).to_html()
    seen = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append(tag)
            assert not {"src", "href"} & dict(attrs).keys()

        def handle_data(self, data):
            text.append(data)

    text = []
    Reader().feed(page)
    assert "script" not in seen and "link" not in seen and seen.count("td") == 3
    assert "".join(text).count(evil) == 3 and page.startswith("<!DOCTYPE html>")


def test_a_card_as_text_and_json():
    good, bad = Check("loads", "passed", "1 MB", {"mb": 1.0}), Check("GPU", "failed", "", {})
    whole = card(good, bad, Check("long context", "skipped", "word " * 40, {}))
    lines = str(whole).splitlines()
    assert lines[0] == "a.gguf" and max(map(len, lines)) <= 100
    assert whole.summary == "1 passed, 1 failed, 1 skipped in 2 s; demo gate: 1 of 2"
    assert not whole.ok and card(good).ok
    found = json.loads(whole.to_json())
    assert found["ok"] is False and found["checks"][0]["figures"] == {"mb": 1.0}
    assert whole["GPU"] is bad


def test_the_command_prints_writes_and_tells_by_its_status(
    chat_file, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(acceptance_trial, "try_file", lambda *_, **__: 1.0)
    broken = lambda _: (_ for _ in ()).throw(ValueError("one\nsentence\x1b[0m"))  # noqa: E731
    first = {("loads",): CHECKS[("loads",)], ("licence",): check_licence}
    paths = [tmp_path / "a.json", tmp_path / "a.html"]
    options = ["--json", str(paths[0]), "--html", str(paths[1])]
    for checks, status in ((first, 0), (first | {("a", "b"): broken}, 1)):
        monkeypatch.setattr(acceptance, "CHECKS", checks)
        assert main([str(chat_file), *options]) == status
        out = capfd.readouterr().out.splitlines()
        assert len(out) == (3 if status == 0 else 5)
        assert json.loads(paths[0].read_text("utf-8"))["ok"] is (status == 0)
        assert "cc0-1.0" in paths[1].read_text("utf-8")
    assert out[2].split(None, 2) == ["failed", "a", "one sentence?[0m"]
    assert main([str(chat_file), "--json", str(tmp_path / "no" / "a.json")]) == 2


def test_it_runs_as_a_program(tmp_path):
    command = [sys.executable, "-m", "helpers.acceptance", str(tmp_path / "a.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("there is no file") and isinstance(ROOT, Path)
