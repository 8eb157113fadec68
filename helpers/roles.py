"""Which model plays which part: one of the course's own, or one of the hub.

A commit hash says exactly what is downloaded. It can be looked up only with a network:
run the line below there, and copy the hashes into the table.

Run it:  python -m helpers.roles   (prints the newest commit of each model on the hub)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

__all__ = ["ROLES", "Role", "check_room", "find_role", "from_hub", "newest_commits"]

EMBEDDED = "set COURSE_TIER=embedded to run the course's own model, which needs neither"


@dataclass(frozen=True)
class Role:
    """One part that a model plays in the course."""

    use: str  # what the notebooks do with it
    embedded: str  # folder in data/models
    hub: str  # model id on the hub
    hub_params: int  # its number of parameters
    bits: int = 16  # of a number in its file
    revision: str = "main"  # commit hash; "main" is the newest, whatever it may be
    licence: str = "Apache-2.0"

    @property
    def download(self) -> int:
        """How many bytes its weights take on the hub, and on the disk."""
        return self.hub_params * self.bits // 8


ROLES = {
    "base": Role("continues a text", "tiny-tale",
                 "HuggingFaceTB/SmolLM2-360M", 361_821_120),
    "chat": Role("answers an instruction", "tiny-tale-chat",
                 "HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120),
    "tune": Role("is fine-tuned by you", "tiny-tale",
                 "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", 1_100_048_384,
                 bits=32),
    "dpo": Role("answers the way people prefer", "tiny-tale-dpo",
                "TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1_100_048_384),
    "draft": Role("guesses ahead for a larger model", "tiny-tale-draft",
                  "HuggingFaceTB/SmolLM2-135M", 134_515_008),
    "korean": Role("recommends a dish in Korean", "tiny-tale-chat",
                   "Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
}


def find_role(name: str) -> Role:
    """Return the role of that name; ValueError, with the closest one, if there is none.

    >>> find_role("base").embedded
    'tiny-tale'
    """
    if isinstance(name, str) and name in ROLES:
        return ROLES[name]
    close = get_close_matches(str(name), ROLES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "choose one of these"
    raise ValueError(f"unknown role {name!r}, expected {', '.join(ROLES)}: {hint}")


def check_room(role: Role, *, memory: int, free_memory: int, cache: Path) -> None:
    """Raise OSError if a model of the hub fits neither the disk nor the memory here.

    `memory`: bytes that its weights take when loaded, of `free_memory`. `cache`: the
    folder that it would be downloaded to, which has to take the file and a tenth more.
    A model that lies there already needs no room on the disk.

    >>> check_room(ROLES["draft"], memory=10**9, free_memory=2 * 10**9, cache=Path("."))
    """
    if memory > free_memory:
        raise OSError(
            f"{role.hub} takes {memory / 1e9:.1f} GB of memory, and "
            f"{free_memory / 1e9:.1f} GB are free: close what uses it, or {EMBEDDED}"
        )
    here = cache / f"models--{role.hub.replace('/', '--')}" / "snapshots"
    if any(here.glob("*/*.safetensors")):
        return
    place = next(one for one in (cache, *cache.parents) if one.is_dir())
    free = shutil.disk_usage(place).free
    if free < role.download * 1.1:
        raise OSError(
            f"{role.hub} is a download of {role.download / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free on the disk of {place}: free some, or {EMBEDDED}"
        )


@contextmanager
def from_hub(name: str) -> Iterator[None]:
    """Say in one sentence what the hub did not give for a role, and what to do.

    Turns whatever OSError is raised inside (no network, 401, 404, a full disk, half a
    file) into one with that sentence.
    """
    try:
        yield
    except OSError as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"the hub did not give {ROLES[name].hub} for the role {name!r} ({said}): "
            "check the network and the space on the disk, or set COURSE_TIER=embedded "
            "to run the course's own model"
        ) from error


def newest_commits() -> dict[str, str]:
    """Return the hub's newest commit of each model; OSError if the hub does not answer."""
    from huggingface_hub import HfApi

    hub = HfApi()
    return {name: hub.model_info(role.hub).sha for name, role in ROLES.items()}


if __name__ == "__main__":
    for name, commit in newest_commits().items():
        print(f"{name:8}{ROLES[name].hub:53}{commit}")
