"""Settings of every test run: offline, on the CPU, and how nbval compares outputs."""

import os
from collections.abc import Iterator

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

if os.environ.get("COURSE_TIER") != "hub":
    # The outputs in the notebooks were made on a CPU, without a network.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # else it warns when a test forks
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else each kernel warns of it

_collect = IPyNbFile.collect


def _patient_collect(notebook: IPyNbFile) -> Iterator[IPyNbCell]:
    """Collect a notebook's cells: stderr is not compared, a busy machine is awaited.

    stderr holds progress bars and warnings; nbval itself would wait 5 s for output.
    """
    notebook.skip_compare += ("stderr",)
    for cell in _collect(notebook):
        cell.output_timeout = 60
        yield cell


# pyproject.toml loads this file as a plugin too, so that it holds for the notebooks.
IPyNbFile.collect = _patient_collect


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection to another machine fail at once."""
    import socket

    def refuse(*address: object, **options: object) -> None:
        raise OSError("the network is switched off in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
