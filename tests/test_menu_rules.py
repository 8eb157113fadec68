"""The rules that read a request for a dish: each constraint, what only looks like one."""

import time

import pytest

from helpers import menu_tasks
from helpers.menu_rules import ASK_AGAIN, read_conversation, read_request


def talked(*said):
    return menu_tasks.talk(*said)[: len(said)]


def read(task):
    return read_conversation([*task.history, {"role": "user", "content": task.request}])


@pytest.mark.parametrize("said, taste", [
    ("매콤한 거 먹을래요.", "매운"), ("맵고 뜨거운 거요.", "매운"), ("칼칼한 국물이요.", "얼큰한"),
    ("깔끔한 맛이 좋아요.", "담백한"), ("고소하고 싼 거요.", "고소한"), ("구수한 거 있어?", "구수한"),
    ("달달한 게 당겨요.", "달콤한"), ("단 게 먹고 싶어.", "달콤한"), ("상큼한 거요.", "새콤한"),
    ("새콤달콤한 거요.", "새콤한"), ("짭조름한 음식", "짭짤한"), ("개운한 국물", "시원한"),
    ("바삭바삭한 거", "바삭한"), ("쫄깃쫄깃한 거", "쫄깃한"), ("부드럽고 따뜻한 거", "부드러운"),
    ("매운 거 말고 담백한 거요.", "담백한"), ("안 매운 걸로 주세요.", None),
    ("맵지 않은 거요.", None), ("매운 건 싫어요.", None), ("매운 거 잘 못 먹어요.", None),
    ("집주인을 고소하려면 어떻게 해요?", None), ("매우 바빠요.", None),
])
def test_tastes(said, taste):
    assert read_request(said).get("taste") == taste


@pytest.mark.parametrize("said, won", [
    ("9,000원 이하요.", 9000), ("9000원까지요.", 9000), ("9천 원 이하요.", 9000),
    ("구천 원밖에 없어요.", 9000), ("만원이요.", 10000), ("만 원 안 넘는 거요.", 10000),
    ("만 2천 원 안에서요.", 12000), ("1만2천원이요.", 12000), ("만 이천 원이요.", 12000),
    ("이만 오천 원이요.", 25000), ("이만오천원이요.", 25000), ("3만5000원이요.", 35000),
    ("1.5만 원이요.", 15000), ("십이만 원이요.", 120000), ("예산이 칠천오백 원이에요.", 7500),
    ("5,000~7,000원이요.", 7000), ("만 원 이상은 안 돼요.", 10000),
    ("만 원 이상인 거요.", None), ("이것만 원해요.", None), ("원숭이 두 마리", None),
])
def test_money_in_every_spelling(said, won):
    assert read_request(said).get("max_price") == won


@pytest.mark.parametrize("said, kcal", [
    ("450칼로리 이하", 450), ("450kcal", 450), ("450 KCAL 아래", 450),
    ("1,200킬로칼로리까지", 1200), ("사백오십 칼로리", 450), ("5백 칼로리", 500),
])
def test_energy(said, kcal):
    assert read_request(said) == {"max_kcal": kcal}


@pytest.mark.parametrize("said, soup", [
    ("국물이 있었으면 해요.", True), ("국물까지 마실래요.", True),
    ("국물이 없으면 안 돼요.", True), ("국물을 빼놓을 수 없어요.", True),
    ("국물 없는 거요.", False), ("국물은 빼 주세요.", False), ("국물 말고요.", False),
    ("국물은 싫어요.", False), ("국물 음식은 안 좋아해요.", False), ("국물은 별로예요.", False),
    ("국물이 있으면 안 돼요.", False), ("국물 있는 건 싫어요.", False), ("탕수육", None),
])
def test_soup(said, soup):
    assert read_request(said).get("soup") is soup


@pytest.mark.parametrize("said, base", [
    ("밥 종류요.", "밥"), ("국수가 당겨요.", "면"), ("빵으로 된 거요.", "빵"), ("떡 있어요?", "떡"),
    ("돼지고기 요리요.", "고기"), ("생선이 좋아요.", "해산물"), ("야채 요리요.", "채소"),
    ("두부 메뉴", "두부"), ("계란 요리", "달걀"), ("죽이 좋겠어요.", "죽"), ("만두요.", "만두"),
    ("면 요리 말고 빵이요.", "빵"), ("고기 빼고 채소 요리요.", "채소"),
    ("고기와 생선이 없는 두부 요리요.", "두부"), ("오늘은 혼밥이에요.", None),
    ("비빔밥 있어요?", None), ("밥때가 됐어요.", None), ("혼자 밥을 먹어요.", None),
    ("싸면 좋겠어요.", None), ("배고파 죽을 것 같아요.", None), ("고기와 생선은 싫어요.", None),
])
def test_base_is_a_word_of_its_own(said, base):
    assert read_request(said).get("base") == base


@pytest.mark.parametrize("said, cuisine", [
    ("한국 음식이요.", "한식"), ("중국요리요.", "중식"), ("일식이요.", "일식"), ("서양 음식", "양식"),
    ("분식", "분식"), ("베트남 음식", "아시아"), ("양식 말고는 안 당겨요.", "양식"),
    ("중식 말고 일식이요.", "일식"), ("한국 역사를 알려 줘.", None), ("중국에 가요.", None),
])
def test_cuisines(said, cuisine):
    assert read_request(said).get("cuisine") == cuisine


@pytest.mark.parametrize("said, meal", [
    ("점심 메뉴를 아직 못 정했어요.", "점심"), ("저녁거리를 찾아요.", "저녁"), ("야식이요.", "야식"),
    ("아침을 굶었어요. 점심 추천해 줘.", "점심"), ("군것질하고 싶어요.", "간식"),
    ("저녁에 먹을 거 골라 줘.", "저녁"), ("아침부터 걸었어요.", None), ("점심을 굶었어요.", None),
    ("아침에 청소를 했어요.", None), ("저녁때가 지났어요.", None), ("좋은 아침이에요.", None),
])
def test_meals_that_are_over_are_no_constraint(said, meal):
    assert read_request(said).get("meal") == meal


@pytest.mark.parametrize("said, company", [
    ("혼밥하기 좋은 거", "혼자"), ("나눠 먹을 사람이 없어요.", "혼자"), ("1인분이요.", "혼자"),
    ("같이 먹을 사람이 없어서 혼자 먹어요.", "혼자"), ("친구들이 없어서 혼자예요.", "혼자"),
    ("여럿이 나눠 먹을 거", "여럿"), ("친구들과 먹어요.", "여럿"), ("세 명이 먹어요.", "여럿"),
    ("4명이에요.", "여럿"), ("손님이 모였어요.", "여럿"), ("혼자가 아니라 여럿이에요.", "여럿"),
    ("같이 먹을 국물 없는 거", "여럿"), ("한 사람에 만 원이에요.", None),
    ("어제 친구를 만났어요.", None),
])
def test_company(said, company):
    assert read_request(said).get("company") == company


@pytest.mark.parametrize("said, temperature", [
    ("뜨끈한 거", "뜨거운"), ("따끈따끈한 게 좋아요.", "뜨거운"), ("따뜻하고 매운 거", "뜨거운"),
    ("차게 먹는 거", "차가운"), ("찬 걸로 부탁해요.", "차가운"),
    ("햇볕이 뜨거워서 찬 게 좋아요.", "차가운"), ("몸이 차서 따뜻한 거요.", "뜨거운"),
    ("햇볕이 뜨거워서 힘들어요.", None), ("손이 시려서 싫어요.", None),
    ("찬 바람이 불어요.", None), ("찬 음식은 싫어요.", None),
])
def test_temperature_of_the_food_not_of_the_day(said, temperature):
    assert read_request(said).get("temperature") == temperature


@pytest.mark.parametrize("said, vegetarian", [
    ("채식을 해요.", True), ("비건이에요.", True), ("고기도 생선도 안 먹어요.", True),
    ("고기와 생선을 넣지 않은 거", True), ("고기나 해산물이 없어야 해요.", True),
    ("고기나 해산물 요리가 좋아요.", None), ("채식은 아니에요.", None), ("고기 요리", None),
])
def test_vegetarian(said, vegetarian):
    assert read_request(said).get("vegetarian") is vegetarian


def test_the_order_is_that_of_the_request():
    said = "만 2천 원까지요. 국물 없는 한식으로, 혼자 먹을 매운 점심이요. 채식해요."
    assert list(read_request(said).items()) == [
        ("max_price", 12000), ("soup", False), ("cuisine", "한식"), ("company", "혼자"),
        ("taste", "매운"), ("meal", "점심"), ("vegetarian", True)]


@pytest.mark.parametrize("kind, least", [("dish", 0.99), ("none", 0.99)])
def test_requests_of_the_training_split(kind, least):
    tasks = menu_tasks.make_split(400, seed=5, mixture={kind: 1})
    reads = [(read_request(task.request), dict(task.limits)) for task in tasks]
    assert sum(got == want for got, want in reads) >= least * 400
    assert sum([*got.items()] == [*want.items()] for got, want in reads) >= 0.95 * 400


@pytest.mark.parametrize("kind, least", [("again", 0.98), ("scope", 0.97), ("talk", 0.97)])
def test_conversations_of_the_training_split(kind, least):
    tasks = menu_tasks.make_split(400, seed=5, mixture={kind: 1})
    assert sum(read(task) == (dict(task.limits) or None) for task in tasks) >= least * 400


@pytest.mark.parametrize("said, limits", [
    ("다른 거 추천해 줘.", {"taste": "매운"}), ("하나 더요.", {"taste": "매운"}),
    ("그건 별로예요.", {"taste": "매운"}), ("더 권해 주세요.", {"taste": "매운"}),
    ("매운 거 말고 단 거요.", {"taste": "달콤한"}), ("오늘 날씨는 어때요?", None),
    ("다른 영화 추천해 줘.", None), ("환율이 바뀌었어요?", None), ("고마워요!", None), ("", None),
])
def test_the_turn_after_a_request(said, limits):
    assert read_conversation(talked("매운 거요.", "짬뽕 어떠세요?", said)) == limits


def test_another_one_keeps_to_the_latest_wishes():
    said = ("매운 거요.", "짬뽕이요.", "국물 없는 거요.", "김밥이요.", "하나 더요.", "떡볶이요.")
    assert read_conversation(talked(*said, "다른 거 없어요?")) == {"soup": False}
    assert read_conversation(talked("안녕!", "네!", "다른 거 없어요?")) is None


def test_nothing_to_read():
    assert read_request("") == {} and read_conversation(talked("")) is None
    assert read_conversation([]) is None and not ASK_AGAIN.search("")
    assert read_request("저녁에 볼 영화 추천해 줘.") == {}


@pytest.mark.parametrize("piece", ["가", "9", "만 ", "아침 ", "국물 ", "매운", "고기와 ", "다른 "])
def test_a_long_text_is_read_quickly(piece):
    start = time.perf_counter()
    read_conversation(talked((piece * 10_000)[:10_000]))
    assert time.perf_counter() - start < 2
