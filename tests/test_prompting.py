"""helpers.prompting: against plain loops, against the tasks' own prompts, its errors."""

import random
from collections import Counter
from itertools import pairwise

import pytest
import torch

from helpers import generation, metrics, models, prompting, tasks, variants
from helpers.prompting import few_shot_prompt, make_problems
from tests.model_fixtures import tiny_model, tiny_tokenizer

PAIRS = [(f"input {i}", "kite" if i % 3 else "drum") for i in range(24)]


@pytest.fixture(scope="module")
def lm():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small sums only wait for a second thread
    yield tiny_model(), tiny_tokenizer()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def course_lm():
    """Return a model of random weights for the course's own tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    path = models.MODELS / models.ROLES["base"].embedded
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=512,
        initializer_range=0.3, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


# ------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("format", sorted(tasks.FORMATS))
def test_a_prompt_is_laid_out_as_the_tasks_own(format):
    for family in ("label", "pick", "ko_pick", "codes"):
        rng = random.Random(5)
        task = tasks.make_task(rng, family, split="heldout")
        pairs = [task.draw(rng) for _ in range(4)]
        own = tasks.make_prompt(random.Random(5), family, shots=4, format=format)
        seen = {x for x, _ in pairs}
        while (query := task.draw(rng))[0] in seen and family != "codes":
            pass
        assert few_shot_prompt(pairs, query[0], format=format) == own.text


@pytest.mark.parametrize(
    "format, text",
    [
        ("{x} ~~ {y}\n", "owl ~~ drum\nfox ~~"),
        ("{x}->{y}; ", "owl->drum; fox->"),
        ("<{x}>\n{y}\n\n", "<owl>\ndrum\n\n<fox>\n"),
        ("{{{x}}} is {y}.\n", "{owl} is drum.\n{fox} is"),
    ],
)
def test_a_format_may_be_made_up(format, text):
    assert few_shot_prompt([("owl", "drum")], "fox", format=format) == text


def test_braces_in_a_text_stay_as_they_are():
    text = few_shot_prompt([("{x}", "{y}")], "{0!r} {", format="qa")
    assert text == "Q: {x}\nA: {y}\nQ: {0!r} {\nA:"


@pytest.mark.parametrize(
    "format",
    ["", "arrows", "{x}", "{y} {x}\n", "{x} {y}", "{x} {y} {y}\n", "{x} {z}\n", "{x} {y}{\n",
     "{} {y}\n", "{x} {y} {}\n", "{x} {y!r}\n"],
)
def test_a_format_that_cannot_be_read_is_said(format):
    with pytest.raises(ValueError, match="expected arrow, .* or a text with {x}"):
        few_shot_prompt([], "fox", format=format)


@pytest.mark.parametrize("pairs, query", [([("owl", 3)], "fox"), ([(None, "a")], "b"), ([], None)])
def test_what_is_no_text_is_said(pairs, query):
    with pytest.raises(TypeError, match="expected texts"):
        few_shot_prompt(pairs, query)


@pytest.mark.parametrize("family", sorted(tasks.FAMILIES))
def test_problems_are_seeded_and_never_show_the_query(family):
    problems = make_problems(family, examples=12, prompts=20, seed=3)
    assert problems == make_problems(family, examples=12, prompts=20, seed=3)
    assert problems != make_problems(family, examples=12, prompts=20, seed=4)
    assert len({problem.query for problem in problems}) > 5
    for problem in problems:
        assert len(problem.pairs) == 12 and problem.format in tasks.HELDOUT_FORMATS
        shown = {x for x, _ in problem.pairs}
        assert family == "codes" or problem.query not in shown
        if family in ("codes", "label", "known", "count"):  # a rule is a function
            assert len(dict(problem.pairs)) == len(set(problem.pairs))


def test_more_examples_and_another_format_leave_the_problem_as_it_is():
    few = make_problems("label", examples=3, prompts=10)
    many = make_problems("label", examples=30, prompts=14, format="qa")
    for one, other in zip(few, many):
        assert (one.query, one.answer) == (other.query, other.answer)
        assert other.pairs[:3] == one.pairs and other.format == "qa"


def test_a_problems_prompt_takes_a_number_or_pairs():
    [problem] = make_problems("pick", examples=6, prompts=1, format="arrow")
    text = few_shot_prompt(problem.pairs[:4], problem.query)
    made = problem.prompt(4)
    assert made == problem.prompt(problem.pairs[:4])
    assert made == tasks.Prompt(text, problem.answer, "pick", 4, "arrow")
    assert problem.prompt(0).text == f"{problem.query} ->"
    assert problem.prompt(2, format="qa").text.startswith("Q: ")
    with pytest.raises(ValueError, match="shots is 7, expected 0 to 6"):
        problem.prompt(7)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"family": "poem"}, "family is 'poem'"),
        ({"split": "test"}, "split is 'test'"),
        ({"format": "arows"}, "format is 'arows'"),
        ({"examples": -1}, "examples=-1"),
        ({"prompts": 0}, "prompts=0"),
    ],
)
def test_problems_that_cannot_be_made(options, says):
    with pytest.raises(ValueError, match=says):
        make_problems(**{"family": "label", "examples": 2} | options)


# ------------------------------------------------------------------ changed shots


def test_orders_are_different_permutations():
    found = variants.orders(PAIRS[:4], n=24)
    assert found[0] == PAIRS[:4] and len({tuple(one) for one in found}) == 24
    assert all(sorted(one) == sorted(PAIRS[:4]) for one in found)
    assert found[:7] == variants.orders(PAIRS[:4], n=7)
    assert variants.orders(PAIRS, n=5, seed=1) != variants.orders(PAIRS, n=5, seed=2)
    with pytest.raises(ValueError, match="n is 25, expected 1 to 24"):
        variants.orders(PAIRS[:4], n=25)


@pytest.mark.parametrize("share, kites", [(0, 0), (0.25, 2), (0.5, 4), (1, 8)])
def test_labels_are_balanced_as_asked(share, kites):
    pool = PAIRS + [(f"word {i}", "bell") for i in range(9)]
    chosen = variants.balance_labels(pool, "kite", share=share, shots=8)
    counts = Counter(y for _, y in chosen)
    assert len(chosen) == 8 and counts["kite"] == kites
    assert abs(counts["drum"] - counts["bell"]) <= 1
    assert chosen == [pair for pair in pool if pair in chosen]  # in the pool's order


def test_too_few_examples_of_a_label_are_said():
    with pytest.raises(ValueError, match=r"24 pairs are too few, give more: {'drum': 2}"):
        variants.balance_labels(PAIRS, "drum", share=1, shots=10)
    with pytest.raises(ValueError, match="share is 1.2, expected 0 to 1"):
        variants.balance_labels(PAIRS, "drum", share=1.2, shots=4)
    with pytest.raises(ValueError, match="'another label': 2"):
        variants.balance_labels([("a", "drum")] * 9, "drum", share=0.5, shots=4)


def test_wrong_labels_are_as_many_as_asked_and_stay_wrong():
    before = set()
    for share in (0, 0.25, 0.5, 0.75, 1):
        shots = variants.wrong_labels(PAIRS[:8], share=share)
        wrong = {pair for pair, right in zip(shots, PAIRS) if pair != right}
        assert [x for x, _ in shots] == [x for x, _ in PAIRS[:8]]
        assert len(wrong) == 8 * share and before <= wrong
        assert {y for _, y in shots} <= {"kite", "drum"}
        before = wrong
    seeds = [variants.wrong_labels(PAIRS, share=0.5, seed=seed) for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_other_problems_have_their_wrong_labels_elsewhere():
    places = set()
    for start in range(12):
        shots = PAIRS[start : start + 8]
        changed = variants.wrong_labels(shots, share=0.25)
        places.add(tuple(i for i in range(8) if changed[i] != shots[i]))
    assert len(places) > 3


@pytest.mark.parametrize("pairs, share", [([("a", "b")] * 3, 0.5), (PAIRS, -0.1), (PAIRS, 2)])
def test_labels_that_cannot_be_wrong(pairs, share):
    with pytest.raises(ValueError, match="expected (0 to 1|two different ones)"):
        variants.wrong_labels(pairs, share=share)


def test_similarity_knows_letters_and_korean():
    texts = ["fox", "foxes", "the red fox", "토끼가 달려요", "토끼는 달려요", "plum", ""]
    for a in texts:
        assert variants.similarity(a, a) == (a != "")
        for b in texts:
            assert variants.similarity(a, b) == variants.similarity(b, a) <= 1
    assert variants.similarity("FOX", "fox") == 1
    assert variants.similarity("fox", "plum") == 0
    close, far = variants.similarity(*texts[3:5]), variants.similarity(*texts[2:4])
    assert close > 0.2 > far


def test_the_most_similar_pair_stands_last():
    pairs = [("fox", "a"), ("plum", "b"), ("foxes", "c"), ("oxen", "d"), ("foxes", "c")]
    assert variants.most_similar(pairs, "foxes", shots=2) == [("fox", "a"), ("foxes", "c")]
    assert variants.most_similar(pairs, "foxes", shots=0) == []
    with pytest.raises(ValueError, match="shots is 5, expected 0 to 4, the different"):
        variants.most_similar(pairs, "foxes", shots=5)


# ----------------------------------------------------------------------- measuring


def answer_all(monkeypatch, answer):
    """Let every prompt be answered by `answer(text)`; return the list of calls."""
    calls = []

    def generate(model, tokenizer, prompts, **options):
        calls.append((list(prompts), options))
        return [[answer(text)] for text in prompts]

    monkeypatch.setattr(generation, "generate", generate)
    return calls


def test_a_comparison_equals_one_call_of_the_library_a_prompt(course_lm):
    model, tokenizer = course_lm
    problems = make_problems("label", examples=3, prompts=6, format="qa")
    conditions = {k: [problem.prompt(k) for problem in problems] for k in (0, 1, 3)}
    rows = prompting.compare(model, tokenizer, conditions, setting="k", progress=False)
    assert [row["k"] for row in rows] == [0, 1, 3]
    for row in rows:
        for prompt, output in zip(conditions[row["k"]], row["outputs"], strict=True):
            ids = torch.tensor([generation.encode_prompt(tokenizer, prompt.text)])
            whole = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=24,
                do_sample=False, pad_token_id=tokenizer.pad_token_id,
            )
            text = tokenizer.decode(whole[0], skip_special_tokens=True)
            more = text[len(prompt.text) :].split("\n")[0]
            assert output and more.startswith(output.rstrip("\ufffd"))


def test_a_comparison_counts_the_right_answers(lm, monkeypatch):
    problems = make_problems("codes", examples=2, prompts=10, format="colon")
    right = {problem.prompt(2).text: problem.answer for problem in problems[:7]}
    calls = answer_all(monkeypatch, lambda text: f" {right.get(text, 'no')}")
    conditions = {k: [problem.prompt(k) for problem in problems] for k in (1, 2)}
    options = {"setting": "shots", "batch_size": 20, "progress": False}
    rows = prompting.compare(*lm, conditions, **options)
    [(asked, options)] = calls  # one batch
    assert len(asked) == 20 and options["temperature"] == 0
    low, high = metrics.wilson_interval(7, 10)
    assert [row["accuracy"] for row in rows] == [0, 0.7]
    assert rows[1] == {
        "shots": 2, "accuracy": 0.7, "low": low, "high": high, "n": 10,
        "outputs": [f" {right.get(p.prompt(2).text, 'no')}" for p in problems],
    }
    assert prompting.curve(rows) == ([1, 2], [0, 0.7], [rows[0]["low"], low], [rows[0]["high"], high])


def test_the_longest_answer_has_room(course_lm, monkeypatch):
    _, tokenizer = course_lm
    calls = answer_all(monkeypatch, lambda text: "")
    answer = "a very long answer " * 5
    long = tasks.Prompt("owl ->", answer.strip(), "label", 0, "arrow")
    prompting.compare(*course_lm, {"long": [long]}, progress=False)
    tokens = tokenizer(f" {long.answer}\n", add_special_tokens=False).input_ids
    assert calls[0][1]["max_new_tokens"] > len(tokens)


@pytest.mark.parametrize("format, said", [("{x} = {y}; ", " kite; owl"), ("qa", " kite\nQ: owl")])
def test_an_output_ends_where_its_format_ends_an_answer(lm, monkeypatch, format, said):
    answer_all(monkeypatch, lambda text: said)
    prompt = tasks.Prompt("fox =", "kite", "label", 0, format)
    [row] = prompting.compare(*lm, {"one": [prompt]}, progress=False)
    assert row["outputs"] == [" kite"] and row["accuracy"] == 1


def test_a_sweep_adds_shots_to_the_same_problems(lm, monkeypatch):
    problems = make_problems("count", examples=4, prompts=12, seed=2, format="equals")
    answers = {problem.query: problem.answer for problem in problems}

    def enough(text):  # right from two shots on
        *shots, query = text.split("\n")
        return f" {answers[query[:-2]] if len(shots) >= 2 else 'no'}"

    calls = answer_all(monkeypatch, enough)
    options = {"family": "count", "seed": 2, "format": "equals", "prompts": 12}
    rows = prompting.shots_sweep(*lm, shots=(0, 1, 2, 4), progress=False, **options)
    assert [(row["family"], row["shots"], row["accuracy"]) for row in rows] == [
        ("count", 0, 0), ("count", 1, 0), ("count", 2, 1), ("count", 4, 1)
    ]
    asked = {text for texts, _ in calls for text in texts}
    assert asked == {problem.prompt(k).text for problem in problems for k in (0, 1, 2, 4)}


def test_batches_hold_prompts_of_like_length(course_lm, monkeypatch):
    problems = make_problems("pick", examples=8, prompts=10)
    conditions = {k: [problem.prompt(k) for problem in problems] for k in (8, 0, 4)}
    calls = answer_all(monkeypatch, lambda text: text[-20:])
    rows = prompting.compare(*course_lm, conditions, batch_size=7, progress=False)
    count = [[len(generation.encode_prompt(course_lm[1], t)) for t in texts] for texts, _ in calls]
    assert [len(texts) for texts in count] == [7, 7, 7, 7, 2]
    assert all(min(one) >= max(other) for one, other in pairwise(count))
    for row in rows:  # and every output comes back to its prompt
        prompts = conditions[row["condition"]]
        cut = [prompt.text[-20:].split("\n")[0] for prompt in prompts]
        assert row["outputs"] == cut


def test_the_batch_size_changes_nothing(course_lm):
    options = {"family": "ko_label", "shots": (0, 3), "prompts": 6, "progress": False}
    rows = prompting.shots_sweep(*course_lm, **options)
    assert rows == prompting.shots_sweep(*course_lm, batch_size=1, **options)


def test_no_prompt_is_asked_twice(course_lm, monkeypatch):
    first, second = make_problems("label", examples=4, prompts=2, format="arrow")
    spaced = [p.prompt(2, format="{x} -> {y}; ") for p in (first, second)]
    shown = [first.prompt(2), second.prompt(2), first.prompt(2)]
    calls = answer_all(monkeypatch, lambda text: f" {len(text)}; more")
    memory, options = {}, {"progress": False}
    rows = prompting.compare(*course_lm, {"a": shown, "b": shown[:2]}, memory=memory, **options)
    [(asked, _)] = calls
    assert sorted(asked) == sorted({prompt.text for prompt in shown})
    again = prompting.compare(*course_lm, {"a": shown}, memory=memory, **options)
    assert len(calls) == 1 and again == rows[:1]
    [row] = prompting.compare(*course_lm, {"c": [shown[0], *spaced]}, memory=memory, **options)
    assert {text for texts, _ in calls[1:] for text in texts} == {p.text for p in spaced}
    cut = [f" {len(prompt.text)}" for prompt in spaced]  # as the new format says
    assert row["outputs"] == [f" {len(shown[0].text)}; more", *cut]
    prompting.compare(*course_lm, {"a": shown}, **options)  # without a memory all anew
    assert len(calls) == 3


def test_an_output_that_had_less_room_is_asked_again(lm, monkeypatch):
    calls, memory = answer_all(monkeypatch, lambda text: ""), {}
    for answer in ("kite", "a very long answer " * 5, "kite"):
        asked = [tasks.Prompt("owl ->", answer.strip(), "label", 0, "arrow")]
        prompting.compare(*lm, {"one": asked}, memory=memory, progress=False)
    short, long = (options["max_new_tokens"] for _, options in calls)
    assert short < long


def test_a_sweep_shares_its_memory_with_later_calls(course_lm, monkeypatch):
    calls, memory = answer_all(monkeypatch, lambda text: " kite"), {}
    options = {"family": "label", "prompts": 5, "memory": memory, "progress": False}
    rows = prompting.shots_sweep(*course_lm, shots=(0, 2), **options)
    asked = len(calls)
    assert rows[1:] == prompting.shots_sweep(*course_lm, shots=(2,), **options)
    assert len(calls) == asked and len(memory) == 10


@pytest.mark.parametrize("shots", [(), (2, -1), (1.5,), ("2",)])
def test_shots_that_are_no_numbers(lm, shots):
    with pytest.raises(ValueError, match="expected one or more numbers from 0 up"):
        prompting.shots_sweep(*lm, family="label", shots=shots)


def test_a_sweep_beyond_the_context_names_the_tokens(course_lm):
    with pytest.raises(ValueError) as error:
        prompting.shots_sweep(*course_lm, family="pick", shots=(0, 4, 60), prompts=3)
    said = str(error.value)
    assert said.startswith("shots 60: text 0 has ") and "expected at most 512 in all" in said


def test_a_condition_without_prompts_is_said(lm):
    with pytest.raises(ValueError, match="order 'b' has no prompts"):
        prompt = tasks.Prompt("owl ->", "kite", "label", 0, "arrow")
        prompting.compare(*lm, {"a": [prompt], "b": []}, setting="order")
    assert prompting.compare(*lm, {}, progress=False) == []


def test_progress_goes_to_stderr_and_only_when_asked(lm, capsys):
    options = {"family": "count", "shots": (0, 1), "prompts": 2, "format": "equals"}
    prompting.shots_sweep(*lm, progress=False, **options)
    assert capsys.readouterr() == ("", "")
    prompting.shots_sweep(*lm, **options)
    out, err = capsys.readouterr()
    assert out == "" and "%" in err


def test_accuracy_is_exact_match_with_an_interval():
    outputs = [" drum", " drums", "drum\nfox", " Drum"]
    low, high = metrics.wilson_interval(2, 4)
    found = prompting.accuracy(outputs, ["drum"] * 4)
    assert found == {"accuracy": 0.5, "low": low, "high": high, "n": 4}
    for outputs in ([], ["drum"]):
        with pytest.raises(ValueError, match=f"{len(outputs)} outputs, 2 answers"):
            prompting.accuracy(outputs, ["drum", "kite"])


# -------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("n_ctx", [40, 73, 200, 511, 5000])
def test_the_shots_that_fit_are_counted_in_tokens(course_lm, n_ctx):
    _, tokenizer = course_lm
    [problem] = make_problems("ko_pick", examples=30, prompts=1)
    options = {"format": problem.format, "max_new_tokens": 7}
    fit = prompting.shots_that_fit(
        tokenizer, problem.pairs, problem.query, n_ctx=n_ctx, **options
    )
    counts = [
        len(generation.encode_prompt(tokenizer, problem.prompt(k).text)) + 7
        for k in range(31)
    ]
    assert all(a < b for a, b in pairwise(counts))
    assert fit == sum(count <= n_ctx for count in counts) - 1


def test_the_model_takes_what_fits_and_refuses_one_more(lm):
    model, tokenizer = lm
    n_ctx = model.config.max_position_embeddings
    [problem] = make_problems("count", examples=60, prompts=1, format="equals")
    fit = prompting.shots_that_fit(
        tokenizer, problem.pairs, problem.query, n_ctx=n_ctx, max_new_tokens=3, format="equals"
    )
    options = {"max_new_tokens": 3, "temperature": 0}
    generation.generate(*lm, problem.prompt(fit).text, **options)
    with pytest.raises(ValueError, match=f"asks for 3 new ones, expected at most {n_ctx}"):
        generation.generate(*lm, problem.prompt(fit + 1).text, **options)


def test_a_query_that_does_not_fit_is_said(course_lm):
    with pytest.raises(ValueError, match=r"take \d+ tokens, n_ctx is 20: shorten"):
        prompting.shots_that_fit(course_lm[1], [], "kite " * 30, n_ctx=20)


# ------------------------------------------------------------------------- choices


def plain_score(model, tokenizer, prompt, choice):
    """Return (log p, tokens) of one choice: no batch, no padding, position by position."""
    start = generation.encode_prompt(tokenizer, prompt)
    gap = "" if prompt.endswith("\n") else " "
    ids = generation.encode_prompt(tokenizer, f"{prompt}{gap}{choice}")
    with torch.inference_mode():
        logp = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    places = range(len(start), len(ids))
    return sum(logp[place - 1, ids[place]].item() for place in places), len(places)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_choices_score_as_one_forward_pass_each(course_lm, normalize, batch_size):
    problems = make_problems("label", examples=8, prompts=5)
    problems += make_problems("ko_label", examples=3, prompts=3, format="ko_input")
    problems += make_problems("label", examples=2, prompts=1, format="{x}:\n{y}\n\n")
    prompts = [problem.prompt(len(problem.pairs)).text for problem in problems]
    choices = [sorted({y for _, y in problem.pairs}) for problem in problems]
    choices[0] += ["a much longer answer than the others", "답"]
    scores = prompting.score_choices(
        *course_lm, prompts, choices, normalize=normalize, batch_size=batch_size
    )
    assert list(map(len, scores)) == list(map(len, choices))
    sizes = set()
    for prompt, some, row in zip(prompts, choices, scores):
        for choice, score in zip(some, row):
            total, size = plain_score(*course_lm, prompt, choice)
            assert score == pytest.approx(total / (size if normalize else 1), abs=1e-4)
            sizes.add(size)
    assert len(sizes) > 1  # else normalising would change nothing


def test_the_same_choices_may_serve_all_prompts(lm):
    prompts, choices = ["Lily found", "Once upon a time a"], ["kite", "small fox"]
    flat = prompting.score_choices(*lm, prompts, choices)
    listed = prompting.score_choices(*lm, prompts, [choices, tuple(choices)])
    assert flat == listed and len(flat) == 2


def test_the_greedy_answer_is_the_likeliest_first_token(lm):
    model, tokenizer = lm
    prompt = "Lily found a magic"
    words = sorted({tokenizer.decode([i]) for i in range(263, len(tokenizer))})
    words = [w[1:] for w in words if w.startswith(" ") and w.strip()]
    words = [w for w in words if len(generation.encode_prompt(tokenizer, f" {w}")) == 2]
    [scores] = prompting.score_choices(*lm, [prompt], words)
    ids = torch.tensor([generation.encode_prompt(tokenizer, prompt)])
    with torch.inference_mode():
        logits = model(ids).logits[0, -1]
    place = {w: generation.encode_prompt(tokenizer, f" {w}")[1] for w in words}
    best = max(words, key=lambda w: logits[place[w]].item())
    assert words[scores.index(max(scores))] == best


@pytest.mark.parametrize(
    "prompts, choices, says",
    [
        (["Lily"], [], "choices are"),
        (["Lily"], [[]], "choices are"),
        (["Lily"], ["kite", ""], "none of them empty"),
        (["Lily", "Tom"], [["kite"]], "for each of the 2 prompts"),
        ([""], ["kite"], "a prompt is empty"),
        (["Lily found a "], ["magic"], "no space at the end of a prompt"),
        (["Lily " * 90 + "found"], ["kite"], "expected at most 160"),
    ],
)
def test_choices_that_cannot_be_scored(lm, prompts, choices, says):
    with pytest.raises(ValueError, match=says):
        prompting.score_choices(*lm, prompts, choices)


def test_control_tokens_in_a_choice_stay_text(lm):
    [[score]] = prompting.score_choices(*lm, ["Lily"], ["</s>"], normalize=False)
    with torch.inference_mode():
        ids = torch.tensor([generation.encode_prompt(lm[1], "Lily")])
        end = lm[0](ids).logits[0, -1].log_softmax(-1)[2].item()
    assert score != pytest.approx(end, abs=1e-3)
