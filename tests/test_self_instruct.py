"""helpers.self_instruct: there and back, every reason to drop, twins, interruptions."""

import itertools
import json
import random
import unicodedata

import pytest

from helpers import self_instruct as si
from helpers.data_utils import load_jsonl, save_jsonl

EN = "Name a small red bird that sings; then say why: it is 7 a.m. #1 ## 3.".split()
KO = "매운 음식을 추천해 주세요. 국물이 없는 점심 메뉴는? 1. 김밥 - 값: 4,000원 🍲".split()
# Korean instructions, reworded (left with right) and truly different. `Pool` and its
# default unit cite what is counted below.
SAME = [
    ("매운 음식 추천해 줘", "매운 음식을 추천해 줘"),
    ("매운 음식 추천해 줘", "매운 음식 추천해줘"),
    ("오늘 점심 뭐 먹을까?", "오늘 점심은 뭐 먹을까요?"),
    ("국물이 있는 음식을 추천해 주세요", "국물 있는 음식 추천해주세요"),
    ("혼자 먹기 좋은 저녁 메뉴를 알려 주세요", "혼자서 먹기 좋은 저녁 메뉴 알려줘"),
    ("다음 음식의 재료를 알려 주세요", "다음 음식의 재료를 알려줘요"),
    ("이 음식이 매운지 안 매운지 말해 주세요", "이 음식이 매운지 안매운지 말해줘"),
    ("만 원 이하로 먹을 수 있는 메뉴는?", "만원 이하로 먹을수 있는 메뉴"),
    ("비 오는 날에 어울리는 음식을 골라 주세요", "비오는 날 어울리는 음식 골라주세요"),
    ("칼로리가 낮은 메뉴를 하나 추천해 줘", "칼로리 낮은 메뉴 하나만 추천해줘"),
    ("다음 문장을 존댓말로 바꿔 주세요", "다음 문장을 존댓말로 바꾸세요"),
    ("김치찌개와 된장찌개 중에서 골라 주세요", "김치찌개랑 된장찌개 중에 골라줘"),
]
DIFFERENT = [
    ("매운 음식 추천해 줘", "단 음식 추천해 줘"),
    ("매운 음식을 추천해 주세요", "뜨거운 음식을 추천해 주세요"),
    ("오늘 점심 뭐 먹을까?", "오늘 저녁 누구랑 먹을까?"),
    ("국물이 있는 음식을 추천해 주세요", "채식하는 친구와 먹을 음식을 추천해 주세요"),
    ("혼자 먹기 좋은 저녁 메뉴를 알려 주세요", "여럿이 먹기 좋은 점심 메뉴를 알려 주세요"),
    ("다음 음식의 재료를 알려 주세요", "다음 음식의 맛을 한 문장으로 설명해 주세요"),
    ("이 음식이 매운지 안 매운지 말해 주세요", "이 음식이 국물 요리인지 아닌지 말해 주세요"),
    ("만 원 이하로 먹을 수 있는 메뉴는?", "아이와 함께 먹을 수 있는 메뉴는?"),
    ("비 오는 날에 어울리는 음식을 골라 주세요", "생일에 어울리는 음식을 골라 주세요"),
    ("칼로리가 낮은 메뉴를 하나 추천해 줘", "값이 싼 분식을 하나 추천해 줘"),
    ("다음 문장을 존댓말로 바꿔 주세요", "다음 문장을 영어로 옮겨 주세요"),
    ("김치찌개와 된장찌개 중에서 골라 주세요", "냉면과 비빔국수 중에서 골라 주세요"),
]
SEEDS = [
    {"instruction": a, "input": b, "output": c, "is_classification": d}
    for a, b, c, d in [
        ("매운 음식을 하나 추천해 주세요.", "", "떡볶이는 어떠세요?", False),
        ("국물이 있는지 없는지 말해 주세요.", "냉면", "있음", True),
        ("Write one sentence about a fox.", "", "The fox slept in the snow.", False),
        ("Which of the two is heavier?", "a feather\na stone", "The stone.", False),
    ]
]


def make_field(rng, *, lines):
    rows = [" ".join(rng.choices(rng.choice((EN, KO)), k=rng.randint(2, 9)))]
    rows += [rng.choice(("", "  - ", "10. ")) + rng.choice(KO) for _ in range(lines)]
    return "\n".join(rows) + "끝"


def make_tasks(rng, n):
    """Draw tasks whose fields are random words, some of many lines, some no input."""
    drawn = []
    for i in range(n):
        task = {name: make_field(rng, lines=rng.choice((0, 0, 3))) for name in si.FIELDS}
        task["input"] = rng.choice(("", task["input"]))
        task["instruction"] += f" ({i})"
        drawn.append(task | {"is_classification": None})
    return drawn


def continuation(tasks, shots):
    """Write what a perfect teacher writes after `shots` tasks: the rest of the list."""
    return si.encode_tasks([*SEEDS[:shots], *tasks]).split("###\n", shots + 1)[-1]


def one(text, **options):
    """Parse one complete task number 2."""
    found = si.parse_tasks(text + "\n###\n", start=2, **options)
    assert len(found) == 1
    return found[0]


def write(instruction="Name a bird.", given="<noinput>", output="A wren."):
    return f" {instruction}\n2. Input: {given}\n2. Output: {output}"


def test_what_is_encoded_is_parsed_back():
    rng = random.Random(0)
    for shots, _ in itertools.product((1, 2, 4), range(40)):
        tasks = make_tasks(rng, rng.randint(1, 5))
        text = continuation(tasks, shots)
        assert text.startswith(f"{shots + 1}. Instruction: ")
        headless = text.removeprefix(f"{shots + 1}. Instruction:")
        for reply in (text, headless, "###\n" + text, text.replace("\n", "\r\n")):
            *found, last = si.parse_tasks(reply, start=shots + 1)
            assert last.reason == "cut off"  # the number that the list ends with
            wrong = {c.reason for c in found} - {"", "loop", "echo"}  # words are drawn
            assert not wrong and [c.task for c in found] == tasks


def test_the_prompt_has_the_documented_form():
    prompt = si.encode_tasks(SEEDS[:2], header="Come up with tasks.")
    assert prompt == (
        "Come up with tasks.\n"
        "###\n1. Instruction: 매운 음식을 하나 추천해 주세요.\n1. Input: <noinput>\n"
        "1. Output: 떡볶이는 어떠세요?\n"
        "###\n2. Instruction: 국물이 있는지 없는지 말해 주세요.\n2. Input: 냉면\n"
        "2. Output: 있음\n###\n3. Instruction:"
    )


@pytest.mark.parametrize(
    "text, reason",
    [
        (write().replace("2. Input: <noinput>\n", ""), "missing field"),
        (write().replace("Output", "Answer"), "missing field"),
        ("", "missing field"),
        (write() + "\n3. Input: no ### before it", "wrong order"),
        (" A\n2. Output: b\n2. Input: c", "wrong order"),
        (write().replace("2. Output", "3. Output"), "wrong number"),
        ("###\n1. Instruction:" + write().replace("2.", "1."), "wrong number"),
        (write(output="A wren.</s>"), "not plain text"),
        (write(given="<|assistant|>"), "not plain text"),
        (write("Name a b\ufffdrd."), "not plain text"),
        (write("Name a b\ud83drd."), "not plain text"),
        (write("..."), "empty instruction"),
        (write(""), "empty instruction"),
        (write(output=""), "empty output"),
        (write(output="  !?"), "empty output"),
        (write(output="<noinput>"), "empty output"),
        (write("Sing"), "too short"),
        (write(output="la le lo " * 112), "too long"),
        (write(output="Name a bird!"), "echo"),
        (write(given="냉면, 비빔국수", output="냉면 비빔국수."), "echo"),
        (write(output="맛있는 음식 " * 9), "loop"),
        (write("Describe the two Photos."), "blacklisted"),
        (write("이 사진을 설명해 주세요."), "blacklisted"),
        (write(), ""),
        (write("Write about photosynthesis."), ""),
        (write("뭐 먹지?", "", "김밥"), ""),
        (write(output="42"), ""),
    ],
)
def test_a_candidate_is_told_why(text, reason):
    found = si.parse_tasks(text + "\n###\n", start=2)
    assert found[0].reason == reason
    assert reason in si.REASONS or found[0].task["input"] == ""


def test_the_limits_can_be_moved():
    assert one(write("Sing"), min_chars=4).reason == ""
    assert one(write(), max_chars=11).reason == "too long"
    assert one(write(), max_chars=12).reason == ""
    assert one(write(), blacklist=["bird"]).reason == "blacklisted"
    assert one(write("이 사진을 설명해 주세요."), blacklist=[]).reason == ""


def test_a_reply_that_breaks_off_loses_its_last_task_wherever_that_is():
    text = continuation(make_tasks(random.Random(4), 3), 1).removeprefix("2. Instruction:")
    ends = [i for i in range(len(text)) if text.startswith("\n###", i)]
    for cut in range(0, len(text), 3):
        found = si.parse_tasks(text[:cut], start=2)
        whole = sum(end + 4 <= cut for end in ends)
        assert [c.reason != "cut off" for c in found[:whole]] == [True] * whole
        assert [c.reason for c in found[whole:]] in ([], ["cut off"])


def test_after_a_wrong_number_the_count_goes_on_from_there():
    text = continuation(make_tasks(random.Random(1), 3), 1)
    jumped = text.replace("\n4. ", "\n7. ").replace("\n3. ", "\n6. ")
    reasons = [c.reason for c in si.parse_tasks(jumped, start=2)]
    assert reasons == ["", "wrong number", "", "cut off"]
    loose = si.parse_tasks(jumped, start=2, strict_numbers=False)
    assert [c.reason for c in loose] == ["", "", "", "cut off"]
    mixed = si.parse_tasks(write().replace("2. O", "9. O") + "\n###", start=2)
    assert mixed[0].reason == "wrong number" and mixed[0].task is None


def test_noise_never_breaks_the_parser_and_what_it_accepts_can_be_encoded():
    rng = random.Random(2)
    bits = ["###", "\n", "\n", " ", "2. Instruction:", "2. Input:", "2. Output:", "\t"]
    bits += ["3. Instruction:", "3. Input: <noinput>", "3. Output:", "\r", "\x1c"]
    bits += ["\u3000"]
    bits += ["Name a bird", "김밥 한 줄", "5. Output: x", "\x85", "99999999. Input:"]
    accepted = []
    for _ in range(3000):
        text = write() + rng.choice(("\n###", "")) + "".join(rng.choices(bits, k=rng.randint(0, 40)))
        accepted += [c.task for c in si.parse_tasks(text, start=2) if not c.reason]
    assert len(accepted) > 100
    for task in accepted:
        block = si.encode_tasks([task]).removesuffix("2. Instruction:")
        again = si.parse_tasks(block.removeprefix("###\n"), start=1)
        assert [c.task for c in again] == [task]


@pytest.mark.parametrize("line", ["###", "  ### ", "7. Input: x", "1.Output:"])
def test_a_field_that_would_end_its_task_is_refused(line):
    with pytest.raises(ValueError, match="task 2: a field has a line such as"):
        si.encode_tasks([SEEDS[0], SEEDS[0] | {"output": f"one\n{line}\ntwo"}])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"output": " \n"}, "task 1: output is .*not empty"),
        ({"instruction": None}, "task 1: instruction is None"),
        ({"input": None}, 'task 1: input is None, expected a text .""'),
        ({"output": "x<|user|>y"}, r"holds '<\|user\|>'"),
        ({"output": "\ud800"}, "broken characters"),
    ],
)
def test_a_task_that_cannot_be_a_shot_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        si.encode_tasks([SEEDS[0] | change])
    with pytest.raises(ValueError, match="no tasks"):
        si.encode_tasks([])
    with pytest.raises(ValueError, match="start is 0"):
        si.parse_tasks("", start=0)


def test_rouge_l_by_hand():
    # police killed the gunman / police kill the gunman: 3 of 4 and 4 words in order
    assert si.rouge_l("Police killed the gunman.", "police kill the gunman") == 0.75
    assert si.rouge_l("the gunman kill police", "police killed the gunman") == 0.5
    assert si.rouge_l("a b c d", "a c") == pytest.approx(2 * 2 / 6)
    assert si.rouge_l("매운 음식", "매운 것", unit="word") == 0.5
    assert si.rouge_l("매운 음식", "매운 것") == pytest.approx(2 * 2 / 7)  # 매 운
    assert si.rouge_l("매운음식!", "매운 음식") == 1.0
    assert si.rouge_l("", "") == si.rouge_l("a", "!") == 0.0
    with pytest.raises(ValueError, match="unit is 'morpheme', expected"):
        si.rouge_l("a", "b", unit="morpheme")


def table_lcs(a, b):
    """Fill the textbook's table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, j in itertools.product(range(len(a)), range(len(b))):
        longer = max(table[i][j + 1], table[i + 1][j])
        table[i + 1][j + 1] = table[i][j] + 1 if a[i] == b[j] else longer
    return table[-1][-1]


def test_rouge_l_against_the_table():
    rng = random.Random(3)
    for _ in range(200):
        a, b = ("".join(rng.choices("가나다라마", k=rng.randint(0, 60))) for _ in "ab")
        score = 2 * table_lcs(a, b) / max(1, len(a) + len(b))
        assert si.rouge_l(a, b) == si.rouge_l(b, a) == pytest.approx(score)
        assert si.rouge_l(" ".join(a), " ".join(b), unit="word") == pytest.approx(score)


def test_units_agree_in_english_and_normal_forms_in_korean():
    a, b = "Don't run, Lily! It is 10:30.", "don't RUN to Lily at 10"
    assert si.rouge_l(a, b) == si.rouge_l(a, b, unit="word") > 0
    korean = SAME[0][0]
    assert si.rouge_l(korean, unicodedata.normalize("NFD", korean)) == 1.0


def test_syllables_tell_korean_rewordings_better_than_words():
    counts, order = {}, {}
    for unit in ("word", "syllable"):
        same, other = (
            [si.rouge_l(a, b, unit=unit) for a, b in pairs] for pairs in (SAME, DIFFERENT)
        )
        for t in (0.7, 0.8):
            counts[unit, t] = sum(s >= t for s in same), sum(s >= t for s in other)
        order[unit] = sum(s > o for s in same for o in other) / len(same) / len(other)
    assert order["syllable"] > 0.9 and order["word"] < 0.5
    assert counts["syllable", 0.7] == (12, 4) and counts["word", 0.7] == (1, 3)
    assert counts["syllable", 0.8] == (11, 3)  # the figures in the docstring of Pool


def test_the_pool_finds_what_comparing_with_everything_finds():
    rng = random.Random(5)
    pool, texts = si.Pool(threshold=0.6), []
    for _ in range(100):
        text = " ".join(rng.choices(KO, k=rng.randint(0, 5)))
        scores = [(si.rouge_l(text, kept), kept) for kept in texts]
        top = max((score for score, _ in scores), default=0.0)
        twin = pool.twin(text)
        assert (twin is not None) == (top >= 0.6)
        assert twin is None or (twin[0] == top and twin in scores)
        pool.add(text)
        texts.append(text)
    assert len(pool) == len(texts)


@pytest.mark.parametrize("threshold", [0, 1.1, float("nan")])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold is .*expected above 0"):
        si.Pool(threshold=threshold)
    with pytest.raises(ValueError, match="unit is 'letter'"):
        si.Pool(unit="letter")


class Teacher:
    """Write two tasks a reply, some of them poor, and fail at given asks."""

    def __init__(self, fails=()):
        self.prompts, self.fails = [], set(fails)

    def __call__(self, prompt):
        self.prompts.append(prompt)
        if len(self.prompts) in self.fails:
            self.fails.discard(len(self.prompts))
            self.prompts.pop()
            raise KeyboardInterrupt
        rng = random.Random(prompt)
        tasks = make_tasks(rng, 2)
        if rng.random() < 0.3:
            tasks[1] = SEEDS[0]
        return continuation(tasks, 3).removeprefix("4. Instruction:")


OPTIONS = {"max_asks": 12, "recycled": 1, "threshold": 0.9}


def test_collect_reports_every_candidate(tmp_path):
    teacher = Teacher()
    report = si.collect(teacher, SEEDS, path=tmp_path / "new" / "log.jsonl", **OPTIONS)
    assert len(teacher.prompts) == len(report.curve) == 12
    assert report.curve == sorted(report.curve) and report.curve[-1] == len(report.tasks)
    assert len(report.candidates) == 36 == len(report.tasks) + report.dropped.total()
    assert report.dropped["cut off"] == 12 and report.dropped["near-duplicate"] > 0
    assert report.accept_rate == len(report.tasks) / 36
    twins = [c for c in report.candidates if c.reason == "near-duplicate"]
    assert any(c.note == f"1.00 {SEEDS[0]['instruction']}" for c in twins)
    shown = [task for task in report.tasks if task["instruction"] in teacher.prompts[-1]]
    assert len(shown) == 1  # OPTIONS recycle one accepted task
    assert str(report).startswith("12 asks, 36 candidates, ")
    assert save_jsonl(tmp_path / "why.jsonl", report.rows()) == 36
    kept = [*SEEDS, *report.tasks]
    for a, b in itertools.combinations([task["instruction"] for task in kept], 2):
        assert si.rouge_l(a, b) < 0.9


@pytest.mark.parametrize("fails", [[1], [4], [2, 5, 9, 12]])
def test_an_interrupted_run_goes_on_and_pays_nothing_twice(tmp_path, fails):
    expected = si.collect(Teacher(), SEEDS, path=tmp_path / "whole.jsonl", **OPTIONS)
    teacher, path = Teacher(fails), tmp_path / "log.jsonl"
    for _ in fails:
        with pytest.raises(KeyboardInterrupt):
            si.collect(teacher, SEEDS, path=path, **OPTIONS)
    assert si.collect(teacher, SEEDS, path=path, **OPTIONS) == expected
    assert len(teacher.prompts) == 12  # answered asks, over all runs
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_line_cut_off_in_mid_write_is_asked_again_and_no_other(tmp_path):
    path = tmp_path / "log.jsonl"
    expected = si.collect(Teacher(), SEEDS, path=path, **OPTIONS)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in (5, ends[0] - 1, ends[0], ends[6] + 40, len(whole) - 1):
        path.write_bytes(whole[:cut])
        teacher = Teacher()
        assert si.collect(teacher, SEEDS, path=path, **OPTIONS) == expected
        assert len(teacher.prompts) == 12 - sum(end <= cut for end in ends)
        assert path.read_bytes() == whole


def test_a_new_threshold_or_check_costs_no_new_ask(tmp_path):
    def refuse(prompt):
        raise AssertionError("asked again")

    options = {"path": tmp_path / "log.jsonl", "max_asks": 12}
    loose = si.collect(Teacher(), SEEDS, threshold=1.0, **options)
    tight = si.collect(refuse, SEEDS, threshold=0.3, **options)
    assert 0 < len(tight.tasks) < len(loose.tasks)
    short = si.collect(refuse, SEEDS, threshold=1.0, max_chars=30, **options)
    assert short.dropped["too long"] > 0
    picky = si.collect(
        refuse, SEEDS, check=lambda task: None if task["input"] else "no input", **options
    )
    assert picky.dropped["no input"] > 0 and all(task["input"] for task in picky.tasks)
    assert all(c.reason in {*si.REASONS, "no input", ""} for c in picky.candidates)


def test_a_task_that_comes_again_is_kept_once(tmp_path):
    task = {"instruction": "Name a colour.", "input": "", "output": "Red."}
    report = si.collect(
        lambda prompt: continuation([task, task | {"output": "Blue."}], 3),
        SEEDS, path=tmp_path / "log", max_asks=2,
    )
    assert [one["output"] for one in report.tasks] == ["Red."] and report.curve == [1, 1]
    assert report.dropped == {"near-duplicate": 3, "cut off": 2}


def test_it_stops_when_enough_are_accepted(tmp_path):
    teacher = Teacher()
    report = si.collect(teacher, SEEDS, path=tmp_path / "a", max_asks=99, wanted=5)
    assert len(report.tasks) in (5, 6) and report.curve[-2] < 5
    assert len(teacher.prompts) == len(report.curve) < 99
    empty = si.collect(teacher, SEEDS, path=tmp_path / "b", max_asks=0)
    assert empty.tasks == [] and empty.accept_rate == 0.0


def test_twins_may_be_told_by_instruction_and_input(tmp_path):
    def teacher(prompt):
        dishes = iter(("잔치국수", "제육볶음"))
        tasks = [SEEDS[1] | {"input": dish, "output": "모름"} for dish in dishes]
        return continuation(tasks, 3)

    options = {"path": tmp_path / "log", "max_asks": 1, "threshold": 0.95}
    alone = si.collect(teacher, SEEDS, **options)
    both = si.collect(teacher, SEEDS, fields=("instruction", "input"), **options)
    assert (len(alone.tasks), len(both.tasks)) == (0, 2)
    with pytest.raises(ValueError, match="fields is .*expected some of"):
        si.collect(teacher, SEEDS, fields=("label",), **options)


def test_a_log_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "log.jsonl"
    si.collect(Teacher(), SEEDS, path=path, max_asks=2)
    before = path.read_bytes()
    for change in ({"seed": 1}, {"header": "Tasks:"}, {"shots": 2}):
        with pytest.raises(ValueError, match="line 1: the reply to another prompt"):
            si.collect(Teacher(), SEEDS, path=path, max_asks=2, **change)
    assert path.read_bytes() == before
    rows = load_jsonl(path)
    for broken in ([rows[0], rows[0]], [rows[0], {"ask": 1, "prompt": "x"}]):
        save_jsonl(path, broken)
        with pytest.raises(ValueError, match="line 2 is not reply 1"):
            si.collect(Teacher(), SEEDS, path=path, max_asks=2)
    path.write_text('{"instruction": "a file of seeds, no newline"}', "utf-8")
    with pytest.raises(ValueError, match="not a file of a teacher's replies"):
        si.collect(Teacher(), SEEDS, path=path, max_asks=2)
    assert "seeds" in path.read_text("utf-8")


def test_what_a_teacher_may_return(tmp_path):
    path = tmp_path / "log"
    with pytest.raises(TypeError, match="the teacher returned NoneType, expected a text"):
        si.collect(lambda prompt: None, SEEDS, path=path, max_asks=1)
    assert not path.exists()
    half = si.collect(
        lambda prompt: write(output="\ud83d wren").replace("2.", "4.") + "\n###",
        SEEDS, path=path, max_asks=1,
    )
    assert half.dropped == {"not plain text": 1}
    assert json.loads(path.read_text("utf-8"))["reply"].count("\ufffd") == 1
    nothing = si.collect(lambda prompt: "", SEEDS, path=tmp_path / "none", max_asks=3)
    assert nothing.dropped == {"cut off": 3}


def test_prompts_are_drawn_by_their_number_alone():
    first = [si.make_prompt(SEEDS, ask=k, shots=2) for k in range(20)]
    assert first == [si.make_prompt(SEEDS, ask=k, shots=2) for k in range(20)]
    assert len(set(first)) > 5
    assert si.make_prompt(SEEDS, ask=0, shots=2, seed=1) != first[0]
    new = make_tasks(random.Random(6), 5)
    mixed = si.make_prompt(SEEDS, ask=0, shots=4, accepted=new, recycled=2)
    assert sum(task["instruction"] in mixed for task in new) == 2
    assert sum(task["instruction"] in mixed for task in SEEDS) == 2
    tops = [si.make_prompt(new[:1], ask=k, accepted=SEEDS[:1], shots=1) for k in (0, 1)]
    assert tops[0] == tops[1]  # nothing recycled unless asked for
    firsts = {
        si.make_prompt(SEEDS, ask=k, accepted=new[:1], recycled=1).index(
            new[0]["instruction"]
        )
        < 30
        for k in range(20)
    }
    assert firsts == {True, False}  # an accepted task stands now first, now later
    for wrong in ({"shots": 0}, {"shots": 5}, {"recycled": 4}, {"recycled": -1}):
        with pytest.raises(ValueError, match="expected 1 <= shots <= seeds"):
            si.make_prompt(SEEDS, ask=0, **wrong)


def test_seeds_are_read_and_a_poor_one_is_named(tmp_path):
    path = tmp_path / "seeds.jsonl"
    save_jsonl(path, SEEDS)
    assert si.load_seeds(path) == SEEDS
    good = json.dumps(SEEDS[0])
    for line, words in [
        ('{"instruction": "a", "input": ""}', "line 3: output is None"),
        (json.dumps(SEEDS[1] | {"is_classification": "no"}), "line 3: is_classificat"),
        (good, "line 3: the same as line 1"),
        ("{", "line 3, column"),
    ]:
        path.write_text(f"{good}\n\n{line}\n", "utf-8")
        with pytest.raises(ValueError, match=f"seeds.jsonl, {words}"):
            si.load_seeds(path)
