"""Sliders where a person can move them, printed examples where nobody can.

A page on GitHub and a run without a browser (tests, nbconvert) show the examples;
JupyterLab, VS Code and Colab show sliders that call the same function.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

__all__ = ["live", "try_by_hand"]


def live() -> bool:
    """Say whether a person at a notebook can move sliders in this kernel."""
    if not find_spec("ipywidgets"):
        return False
    if "google.colab" in sys.modules or "JPY_SESSION_NAME" in os.environ:
        return True  # Jupyter Server names the session only for a notebook's kernel
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return "__vsc_ipynb_file__" in getattr(shell, "user_ns", {})


def try_by_hand(
    function: Callable[..., object],
    *,
    sliders: Mapping[str, tuple[float, float, float]],
    examples: Sequence[Mapping[str, float]],
) -> None:
    """Call `function` when a slider is let go; without sliders, for each example.

    `sliders` maps a keyword of the function to (lowest, highest, step); a slider
    begins at the first example's value. Raises ValueError for an example without one
    of them, and for no examples.

    >>> def say(t):
    ...     print("warm" if t > 1 else "cool")
    >>> try_by_hand(say, sliders={"t": (0, 2, 0.1)}, examples=[{"t": 2}, {"t": 0.5}])
    t = 2
    warm
    t = 0.5
    cool
    """
    missing = [name for one in examples for name in sliders if name not in one]
    if missing or not examples:
        lacks = (
            f"an example has no {missing[0]!r}" if missing else "there is no example"
        )
        raise ValueError(f"{lacks}, expected a value for each of {', '.join(sliders)}")
    if not live():
        for one in examples:
            print(", ".join(f"{name} = {value:g}" for name, value in one.items()))
            function(**one)
        return
    import ipywidgets

    controls = {
        name: ipywidgets.FloatSlider(
            value=examples[0][name],
            min=low,
            max=high,
            step=step,
            description=name,
            continuous_update=False,
            style={"description_width": "initial"},
        )
        for name, (low, high, step) in sliders.items()
    }
    ipywidgets.interact(function, **controls)
