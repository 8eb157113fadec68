"""helpers.llama_cpp_utils: llama.cpp's own files, read back with the `gguf` package."""

import sys
import warnings

import gguf
import numpy as np
import pytest

from helpers.gguf_utils import inspect, write_gguf
from helpers.llama_cpp_utils import TYPES, load_llama, quantize
from tests.gguf_fixtures import small_pair

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (an extra)")
BITS = {"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_1": 6}
BITS |= {"Q5_K": 5.5, "Q5_0": 5.5, "Q4_K": 4.5, "Q4_1": 5, "Q4_0": 4.5, "Q3_K": 3.4375}
BITS |= {"Q2_K": 2.625}


@pytest.fixture(scope="module")
def f32(tmp_path_factory):
    """A file with rows of 256 weights, as types with a K need them."""
    path = tmp_path_factory.mktemp("gguf") / "tale.gguf"
    return write_gguf(small_pair(hidden_size=256), path, dtype="f32")


def values(path):
    return {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type)
        for t in gguf.GGUFReader(path).tensors
    }


@pytest.mark.parametrize("type", ["F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0", "Q2_K"])
def test_a_quantized_file_holds_nearly_the_same_in_fewer_bits(type, f32, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = quantize(f32, tmp_path / "new" / "q.gguf", type=type, progress=False)
    before, after = inspect(f32), inspect(path)
    assert {t.name for t in before.tensors} == {t.name for t in after.tensors}
    kinds = {t.type for t in after.tensors if len(t.shape) > 1}
    assert type.removesuffix("_M") in kinds
    for tensor in after.tensors:
        assert tensor.bits == BITS[tensor.type]
    told = {"general.file_type", "general.quantization_version"}
    for key in before.metadata.keys() - told:
        assert after.metadata[key] == before.metadata[key]
    exact, rounded = values(f32), values(path)
    names = [t.name for t in after.tensors if len(t.shape) > 1]
    errors = [
        np.linalg.norm(rounded[n] - exact[n]) / np.linalg.norm(exact[n]) for n in names
    ]
    assert 0 < max(errors) < 1.5 * 2 ** (1 - after.bits) + 0.001
    assert list(path.parent.iterdir()) == [path]


def test_pure_gives_every_matrix_the_same_type(f32, tmp_path):
    for pure in (True, False):
        path = quantize(f32, tmp_path / "q.gguf", pure=pure, progress=False)
        kinds = {t.type for t in inspect(path).tensors if len(t.shape) > 1}
        assert (kinds == {"Q4_K"}) == pure


def test_all_types_are_known_to_llama_cpp():
    import llama_cpp

    for type in TYPES:
        ends = [f"MOSTLY_{type}", f"ALL_{type}"]
        assert any(hasattr(llama_cpp, f"LLAMA_FTYPE_{end}") for end in ends)


def test_rows_that_do_not_fit_are_told(tmp_path):
    path = write_gguf(small_pair(), tmp_path / "a.gguf")  # rows of 64
    with pytest.warns(UserWarning, match="tensors have rows of a length that Q4_K_M"):
        out = quantize(path, tmp_path / "q.gguf", progress=False)
    assert "Q4_K" not in {t.type for t in inspect(out).tensors}


def test_progress_is_shown_and_llama_cpp_keeps_quiet(f32, tmp_path, capfd):
    quantize(f32, tmp_path / "q.gguf", type="Q8_0", progress=False)
    load_llama(f32, n_threads=1).close()
    assert capfd.readouterr() == ("", "")
    quantize(f32, tmp_path / "q.gguf", type="Q8_0")
    out, err = capfd.readouterr()
    assert out == "" and "Q8_0" in err and f"/{len(inspect(f32).tensors)}" in err


def test_ctrl_c_ends_it_and_leaves_nothing(f32, tmp_path, monkeypatch):
    import tqdm

    def interrupt(self, n=1):
        raise KeyboardInterrupt

    monkeypatch.setattr(tqdm.tqdm, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        quantize(f32, tmp_path / "q.gguf", type="Q8_0", progress=False)
    assert not list(tmp_path.iterdir())


def test_when_llama_cpp_fails_the_old_file_stays(f32, tmp_path, monkeypatch):
    import llama_cpp

    monkeypatch.setattr(llama_cpp, "llama_model_quantize", lambda *_: 1)
    (tmp_path / "q.gguf").write_text("what was there")
    with pytest.raises(OSError, match="could not quantize .*q.gguf: it gave no reason"):
        quantize(f32, tmp_path / "q.gguf", progress=False)
    assert (tmp_path / "q.gguf").read_text() == "what was there"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_llama_cpp_says_is_the_reason(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "zebra")
    writer.add_tensor("a", np.ones((4, 256), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match="llama.cpp cannot run .*a.gguf: .*zebra"):
        load_llama(tmp_path / "a.gguf")
    with pytest.raises(OSError, match="could not quantize .*a.gguf to .*: .*zebra"):
        quantize(tmp_path / "a.gguf", tmp_path / "q.gguf", progress=False)
    assert not (tmp_path / "q.gguf").exists()


def test_a_quantized_file_is_not_quantized_again_unasked(f32, tmp_path):
    once = quantize(f32, tmp_path / "a.gguf", type="Q8_0", progress=False)
    with pytest.raises(ValueError, match=r"quantized already \(Q8_0\), expected 16 or"):
        quantize(once, tmp_path / "b.gguf", progress=False)
    options = {"allow_requantize": True, "progress": False}
    assert inspect(quantize(once, tmp_path / "b.gguf", **options)).bits < 7


@pytest.mark.parametrize("use", [load_llama, lambda path: quantize(path, path)])
def test_a_bad_file_gets_one_sentence(use, f32, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        use(tmp_path / "none.gguf")
    (tmp_path / "a.gguf").write_bytes(f32.read_bytes()[:-9])
    with pytest.raises(ValueError, match="a.gguf is damaged"):
        use(tmp_path / "a.gguf")
    (tmp_path / "b.gguf").write_text("hello")
    with pytest.raises(ValueError, match="b.gguf is not a GGUF file"):
        use(tmp_path / "b.gguf")


def test_an_unknown_type_is_refused(f32, tmp_path):
    with pytest.raises(ValueError, match="type is 'Q4_K', expected one of F32, F16"):
        quantize(f32, tmp_path / "q.gguf", type="Q4_K")


def test_without_llama_cpp_python_the_cure_is_named(f32, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    for use in (load_llama, lambda path: quantize(path, tmp_path / "q.gguf")):
        with pytest.raises(ImportError, match="llama-cpp-python cannot .*`make lab`"):
            use(f32)
