"""Helpers of the course: one subject a module, and nothing heavy until it is needed.

`import helpers` and `from helpers import runtime` take a few milliseconds: torch,
transformers and matplotlib are imported inside the functions that use them.
Imports point one way, from the end of this list to its start.

>>> import helpers
>>> "runtime" in helpers.__all__
True
"""

from importlib import import_module
from types import ModuleType

__all__ = [
    "preflight",  # what has to be true before anything is installed
    "pip_runner",  # pip inside .venv, with progress and one sentence of error
    "install",  # makes .venv: `make lab` and `make test` begin with it
    "kit",  # the course and its wheels, for a room without a network
    "versions",  # pins, what is installed, the set-up cell
    "colab",  # do the pins fit beside Colab's packages?
    "badges",  # the name of a fork, in every badge and link
    "runtime",  # device, tier, dtype, seeds, meters
    "measured",  # time and memory of the notebooks, written where they are quoted
    "fingerprints",  # which base is this? hashes of its weights
    "adapters",  # saved, loaded and merged onto the right base only
    "roles",  # which model plays which part, and whether it fits here
    "models",  # loading, sizes
    "data_utils",  # JSON lines, with clear errors
    "model_card",  # what a model is and what was measured, from a run
    "grammar",  # lists and plots in plain text, expanded
    "korean",  # particles that agree with the sound before them
    "tales",  # stories and their verifier
    "rules",  # rules of the few-shot tasks: an input becomes an output
    "tasks",  # few-shot documents, prompts and their scores
    "dishes",  # dishes, what is asked for, and their verifier
    "food_phrases",  # Korean phrases about dishes
    "food_requests",  # requests for a dish, and what they state
    "menu_rules",  # what a request asks for, read by rules
    "menu_lookup",  # a query in fixed words, and the dish that it finds
    "menus",  # requests, dialogues and documents about dishes
    "sampling",  # pure functions on logits
    "decoding",  # one batch, token by token
    "generation",  # generate, temperature_sweep
    "metrics",  # distinct-n, Jaccard, perplexity, intervals
    "rouge",  # ROUGE-L and near-duplicates by it
    "seed_tasks",  # tasks as a numbered prompt, and back again
    "self_instruct",  # a teacher's tasks: asked, parsed, kept or dropped
    "teacher",  # who is asked: any endpoint like OpenAI's
    "variants",  # the shots of a prompt in other orders, mixes and choices
    "prompting",  # few-shot prompts and how often they work
    "messages",  # conversations as lists of messages
    "templating",  # a template's words and the messages'
    "chat_templates",  # eight families, safe encoding
    "streaming",  # tokens into text as they come
    "backends",  # transformers or llama.cpp, behind one face
    "chat_log",  # what a conversation leaves behind
    "chat",  # ChatSession: talk in turns
    "replies",  # does a reply follow its instruction?
    "instructions",  # requests with right replies
    "preferences",  # pairs of replies, the better one first
    "orca",  # a published set of them, filtered
    "checkpoints",  # whole, or named and passed over
    "lora",  # what LoRA and QLoRA cost, and how to attach them
    "quantization",  # fewer bits a number: by hand, as bitsandbytes and llama.cpp do it
    "sensitivity",  # where in a model fewer bits hurt
    "calculator",  # memory and tokens a second, for any size and format
    "sft_data",  # conversations as ids and labels
    "gpu_memory",  # which setting to lower when a GPU is full
    "training",  # a trainer that can be stopped and gone on with
    "sft",  # supervised fine-tuning
    "menu_tasks",  # what a menu chatbot is asked, and its rules
    "menu_bot",  # a model that looks dishes up
    "dpo_data",  # pairs of replies as ids
    "dpo",  # the loss on pairs, and training with it
    "rewards",  # what a tuned model prefers, and how far it moved
    "judging",  # who wins, and whether the order decides
    "gguf_vocab",  # a tokenizer into a GGUF file
    "gguf_utils",  # a model into a GGUF file, and what is in one
    "llama_cpp_utils",  # llama.cpp: load, quantize
    "gguf_eval",  # does a GGUF file say what the model says?
    "ports",  # a free port, and who holds one
    "serving_app",  # llama.cpp's server, with what it lacks
    "serving",  # start it, ask it, stop it
    "bandwidth",  # the speed of memory, and what it allows
    "knobs",  # llama.cpp's settings: what they cost, what they write
    "formats",  # one model in eleven formats, measured
    "acceptance_trial",  # a GGUF file, opened to be judged
    "acceptance_file",  # what it says of itself
    "acceptance_speed",  # what it costs here
    "acceptance_talk",  # how it talks
    "acceptance",  # the home acceptance test: a scorecard for any GGUF
    "sweeps",  # a table and a curve for one setting
    "widgets",  # sliders, or examples where nobody can move them
    "plotting",  # the house style and figures with alt text
    "menu_data",  # a teacher's tasks for it, checked, and its pairs
    "menu_scores",  # how often a menu chatbot is right
    "live",  # a loss curve that grows while one looks
    "checks",  # what a check is, and where to find check_NN_k
    "checks_00",  # the checks of each notebook
    "checks_01",
    "checks_02",
    "checks_03",
    "checks_04",
    "checks_05",
    "checks_06",
    "checks_07",
    "checks_08",
    "apps",  # the chat front ends
]


def __getattr__(name: str) -> ModuleType:
    """Import a helper when it is first asked for, as in `helpers.runtime`."""
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(
        f"helpers has no module {name!r}, expected one of {', '.join(__all__)}"
    )
