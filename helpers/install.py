"""Make .venv and install the course into it; run again, it is done at once.

Interrupt it where you like: the stamp .venv/installed is written last, and the next
run takes up what is missing. Standard library only, readable by Python 3.6.

Run it:  python3 helpers/install.py   (`make lab` and `make test` run it first)
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Optional

try:
    import fcntl
except ImportError:  # Windows has no file locks of this kind
    fcntl = None

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from helpers import preflight  # noqa: E402
from helpers.pip_runner import PYTHON, VENV, check_kit, imports, kit_wheel  # noqa: E402
from helpers.pip_runner import pinned, pip, run  # noqa: E402
from helpers.preflight import OLDEST, ROOT, TOO_NEW, Stop  # noqa: E402

__all__ = ["cmake_args", "install", "is_installed", "main", "wheel_folder"]

STAMP = VENV / "installed"
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
LLAMA_CPU = "https://abetlen.github.io/llama-cpp-python/whl/cpu"
PORTABLE = "-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF"  # the default crashes on some CPUs
X86_64 = "-DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
GB_CPU, GB_CUDA, GB_REST = 4, 10, 1  # measured; the last, when torch is already there
IMPORTS = ("torch, transformers, peft, trl, datasets, gguf, sacrebleu, llama_cpp, openai, "
           "fastapi, uvicorn, pydantic_settings, sse_starlette, starlette_context, "
           "gradio, streamlit, jupyterlab, nbval")


def is_installed(*, exact: bool = False) -> bool:
    """Say whether .venv is whole; `exact`: and made with the Python that runs this."""
    config = VENV / "pyvenv.cfg"
    if not all(path.exists() for path in (PYTHON, STAMP, config)):
        return False
    version = "\nversion = {}.{}.".format(*sys.version_info[:2])
    fits = not exact or version in config.read_text()
    return fits and STAMP.read_text() == stamp()


def stamp() -> str:
    """Return what .venv depends on, as a hash: the pins, the Python, the place."""
    files = [ROOT / "pyproject.toml", VENV / "pyvenv.cfg"]
    place = "{} {}".format(ROOT, os.path.realpath(str(PYTHON)))
    what = b"".join(file.read_bytes() for file in files) + place.encode()
    return hashlib.sha256(what).hexdigest()


def sites() -> list:
    """Return the folders of .venv that packages are installed into."""
    return [*VENV.glob("lib/python*/site-packages"), *VENV.glob("Lib/site-packages")]


def cmake_args(machine: str) -> str:
    """Return CMAKE_ARGS for llama-cpp-python: what every CPU of this kind can run."""
    x86 = [X86_64] if machine.lower() in ("x86_64", "amd64") else []
    return " ".join([os.environ.get("CMAKE_ARGS", ""), PORTABLE] + x86).strip()


def wheel_folder(args: str) -> Path:
    """Return where a wheel built with CMAKE_ARGS `args` is kept.

    pip's own cache does not look at the flags; this folder's name holds a hash of
    them, of the version, the system, the architecture, the C library and the Python.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    mac = platform.system() == "Darwin"
    home = home or str(Path.home() / ("Library/Caches" if mac else ".cache"))
    build = [pinned("llama-cpp-python"), args, platform.system(), platform.machine()]
    build += [*platform.libc_ver(), "{}.{}".format(*sys.version_info[:2])]
    key = hashlib.sha256("\n".join(build).encode()).hexdigest()[:12]
    return Path(home, "tiny-tale-course", "llama-cpp-python-" + key)


def say(words: str) -> None:
    """Print a line below the step that it belongs to."""
    print("      " + words, flush=True)


def make_venv(*, exact: bool) -> None:
    """Make .venv, or mend what an interrupted run left of it.

    One without a working pip, or with another Python than asked for, is made again.
    """
    for site in sites():
        # pip writes INSTALLER and RECORD when a package is whole, and moves what it
        # replaces to names that begin with ~
        half = list(site.glob("~*"))
        for folder in site.glob("*.dist-info"):
            if not ((folder / "INSTALLER").exists() and (folder / "RECORD").exists()):
                half.append(folder)
        for folder in half:
            shutil.rmtree(str(folder), ignore_errors=True)
    here = tuple(sys.version_info[:2])
    good = [here] if exact else [(3, n) for n in range(OLDEST[1], TOO_NEW[1])]
    usable = "sys, pip, importlib.metadata as m; m.version('pip'); "
    usable += "assert sys.version_info[:2] in {}".format(good)
    if PYTHON.exists() and imports(usable):
        return
    if VENV.exists():
        say("the .venv found here is not whole or does not fit: making it again")
        shutil.rmtree(str(VENV))
    run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", VENV])


def install_torch() -> None:
    """Install torch: on Linux without an NVIDIA GPU its CPU build, 2.5 GB smaller."""
    torch, index = pinned("torch"), []
    if not check_kit() and platform.system() == "Linux":
        if not preflight.has_gpu() and preflight.reachable(TORCH_CPU):
            index = ["--index-url", TORCH_CPU]
        elif not preflight.has_gpu():
            say("the index of torch's CPU builds does not answer: using pip's own")
        plan = "" if index else pip("install", "--dry-run", torch)
        if re.search(r"^Would install.* nvidia-", plan, re.M):
            preflight.check_space(ROOT, GB_CUDA)
    pip("install", *index, torch)


def install_llama() -> None:
    """Install llama-cpp-python: built here before, else prebuilt, else from source."""
    wanted = pinned("llama-cpp-python")
    same = "llama_cpp; assert llama_cpp.__version__ == '{}'"
    if imports(same.format(wanted.split("==")[1])):
        return
    kit = kit_wheel("llama-cpp-python")
    if kit:
        pip("install", "--force-reinstall", "--no-deps", *kit)
        return
    args = cmake_args(platform.machine())
    folder = wheel_folder(args)
    if not any(folder.glob("*.whl")):
        if not os.environ.get("CMAKE_ARGS") and install_prebuilt(wanted):
            return
        preflight.check_compiler()
        say("compiling it, 4 to 10 minutes; the wheel is kept in {}".format(folder))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=str(folder)) as work:
            how = ["-v", "--no-deps", "--no-cache-dir", "--no-binary=llama-cpp-python"]
            pip("wheel", *how, "-w", work, wanted, env={"CMAKE_ARGS": args})
            for wheel in Path(work).glob("*.whl"):
                os.replace(str(wheel), str(folder / wheel.name))
    pip("install", "--force-reinstall", "--no-deps", *folder.glob("*.whl"))


def install_prebuilt(wanted: str) -> bool:
    """Try the wheels of llama-cpp-python's own index; say whether one runs here."""
    if not preflight.reachable(LLAMA_CPU):
        say("the index of llama-cpp-python's wheels does not answer")
        return False
    only = ["--only-binary", "llama-cpp-python", "--extra-index-url", LLAMA_CPU]
    try:
        pip("install", *only, wanted)
    except Stop:
        say("there is no prebuilt wheel for this machine")
        return False
    if not imports("llama_cpp"):  # some need a C library that few systems have
        say("the prebuilt wheel does not run here")
        return False
    return True


def install_rest() -> None:
    """Install everything else that pyproject.toml names, and the helpers in place."""
    pip("install", "-e", ".[gguf,serve,apps,lab]")
    say("importing them")
    run([PYTHON, "-c", "import " + IMPORTS])


def lock() -> Optional[object]:
    """Wait for other installations here to end, the pip of a killed one included."""
    if fcntl is None:
        return None
    file = open(str(ROOT / "pyproject.toml"))
    os.set_inheritable(file.fileno(), True)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print("waiting for another installation of the course to end", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def install(*, exact: bool) -> None:
    """Go through the steps and write the stamp; raises Stop if one fails."""
    start = time.time()
    check_kit()
    resumed = any((site / "torch").exists() for site in sites())
    preflight.check_all(GB_REST if resumed else GB_CPU)
    steps = [
        ("the folder .venv", lambda: make_venv(exact=exact)),
        ("pip", lambda: pip("install", "--retries=1", "--timeout=15", "pip>=24.1")),
        ("torch", install_torch),
        ("llama-cpp-python", install_llama),
        ("everything else", install_rest),
    ]
    if STAMP.exists():
        STAMP.unlink()
    for number, (name, step) in enumerate(steps, 1):
        print("[{}/{}] {}".format(number, len(steps), name), flush=True)
        step()
    STAMP.write_text(stamp())
    print("installed in {:.0f} s".format(time.time() - start), flush=True)
    if "MAKELEVEL" not in os.environ:
        print("start with:", PYTHON, "-m jupyterlab notebooks/00_start_here.ipynb")


def main(argv: Optional[list] = None) -> int:
    """Install what is missing; return 0, or 1 after a sentence that says why not."""
    parser = argparse.ArgumentParser(description="Install the course into .venv.")
    parser.add_argument("--exact", action="store_true", help="with this very Python")
    parser.add_argument("--check", action="store_true", help="install nothing")
    args = parser.parse_args(argv)
    try:
        preflight.check_python(sys.version_info)
        if is_installed(exact=args.exact):
            return 0
        if args.check:
            raise Stop("The course is not installed here: run this without --check.")
        held = lock()
        if not is_installed(exact=args.exact):
            install(exact=args.exact)
        del held
        return 0
    except Stop as stop:
        print(stop, file=sys.stderr)
    except OSError as error:
        print(preflight.explain(str(error), command="install.py"), file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted: run the same command again to go on.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
