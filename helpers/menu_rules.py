"""Rules that read what a Korean request for a dish asks for: plain code, no model.

They are the first step of `helpers.menu_lookup` with patterns in the place of a model:
a pattern for each value of a constraint, and what takes it back (매운 거 말고).

>>> read_request("혼자 먹을 매운 면 요리요. 국물은 빼고 만 2천 원까지예요.")
{'company': '혼자', 'taste': '매운', 'base': '면', 'soup': False, 'max_price': 12000}
"""

from __future__ import annotations

import re

from helpers.messages import Messages

__all__ = ["ASK_AGAIN", "read_conversation", "read_request"]

THING = "(?:거|걸|건|것|게|맛|음식|요리|메뉴)"
# A past tense has a syllable that ends in ㅆ. 있 and 겠 do, too, and are none.
PAST = "".join({chr(i) for i in range(ord("갔"), ord("힣"), 28)} - {*"있겠"})
WORD, FREE = "(?<![가-힣])", "(?<!안 )(?<!덜 )"  # begins a word; is not denied before
PARTICLE = "(?:[이가을를은는도만로나류인요]|으로|이[나면라요]|이었으면|이에요|예요)?(?![가-힣])"
# 아침에 일만 했어요 tells of a meal that is over, 아침을 못 정했어요 of the next one.
OVER = (r"부터|때?[이가은는]? ?지[나났]|(?:(?!메뉴|먹을|먹고 싶|으려|고[르민]|골|정[하했]|찾|추천)"
        r"[^.?!,]){0,20}[" + PAST + "](?!으면)")
TABLE = {  # the frame of each pattern, and what fills it
    "taste": (FREE + "(?:{})", {
        "매운": "매운|매콤|맵(?=[고게지])", "달콤한": rf"달콤|달달|달짝|{WORD}(?:단 ?(?={THING})|달(?=[고게] ))",
        "얼큰한": "얼큰|칼칼", "구수한": "구수", "바삭한": "바삭|파삭", "쫄깃한": "쫄깃|쫀득", "부드러운": "부드러|부드럽",
        "담백한": "담백|깔끔|슴슴", "고소한": "고소(?=한|하[고게면니]|했으면)", "시원한": "(?<!바람이 )시원|개운",
        "새콤한": f"새콤|상큼|시큼|{WORD}신 ?(?={THING})", "짭짤한": f"짭짤|짭[조쪼]름|{WORD}짠 ?(?={THING})"}),
    # 햇볕이 뜨거워서 and 찬 바람 are about the weather, not about the food.
    "temperature": (FREE + r"(?:{})(?!\w? ?(?:날|봄|바람|물|공기|햇|방|집|마음|손))", {
        "뜨거운": "뜨거운|뜨겁(?=[고게])|(?:뜨끈|따끈|뜨뜻|(?<!씨가 )따뜻)(?=뜨?따?끈?[한하했])",
        "차가운": f"차가운|차갑(?=[고게])|{WORD}(?:찬(?= )|차게)"}),
    "cuisine": (WORD + "(?:{})", {
        "한식": "한식|한국 ?(?:음식|요리)", "중식": "중식|중국집|중[국화] ?(?:음식|요리)",
        "분식": "분식", "양식": "양식(?!장)|(?:서양|이탈리아|유럽) ?(?:음식|요리|식)",
        "일식": "일식|일본 ?(?:음식|요리)", "아시아": "(?:동남)?아시아|(?:태국|베트남|인도) ?(?:음식|요리)"}),
    "base": (WORD + "(?:{})(?=" + PARTICLE + ")", {
        # 밥을 먹어요 is any meal, 배고파 죽을 것 같아요 no porridge.
        "밥": "밥(?= (?:요리|종류|메뉴|음식)|류|으로 된|이 (?:들어|당|좋))", "죽": "죽(?!을 (?:것|만큼|지경|뻔))",
        "면": "면|국수", "빵": "빵", "떡": "떡", "만두": "만두", "두부": "두부",
        "고기": "(?:소|쇠|돼지|닭)?고기|육류", "해산물": "해산물|해물|생선", "채소": "채소|야채|나물", "달걀": "달걀|계란"}),
    "meal": ("(?<!좋은 )(?:{})(?!" + OVER + ")", {
        "아침": "아침", "점심": "점심", "저녁": "저녁", "간식": "간식|군것질", "야식": "야식|밤참"})}
RULES = [(key, value, re.compile(frame.replace("{}", words)))
         for key, (frame, table) in TABLE.items() for value, words in table.items()]
TAKEN_BACK = re.compile(
    rf"[가-힣]{{0,2}}(?: ?(?:{THING}|종류|쪽))?(?:은|는|이|가|을|를|도)? ?(?:잘 |전혀 )?"
    "(?:말고(?!는)|빼|싫|별로|제외|대신|아닌|(?:지 ?)?않|지 말|못 ?먹|안 (?:먹|좋|당|내))")
ALONE = re.compile("혼자(?!(?:[가는도])? ?(?:아니|말고|먹기 싫))|혼밥|홀로|[1일] ?인분|"
                   r"한 (?:사람|명)이 먹|(?:같이|함께|나눠|나누어) 먹을 (?:사람|친구|식구|이)[가이도]? 없")
MANY = re.compile(
    r"여럿|여러 ?(?:명|사람|분|이서)|(?:다|모두) (?:같이|함께)|모두가|식구가 많|모[였여임]|회식|잔치|"
    rf"(?:[2-9]|\d\d|두|세|네|다섯|여섯|일곱|여덟|열) ?(?:명|사람|식구)|{WORD}[둘셋넷]이서?(?= )|"
    "(?:친구|식구|동료|친척|이웃|가족|손님|아이|조카|부모님)들?(?:과|와|이?랑|하고)(?= )|"
    "우리 [반팀]|놀러 [와왔온]|(?:같이|함께|나눠|나누어) [먹드]")
SOUP = re.compile(
    rf"국물(?P<no>[은이을도]?(?: ?(?:있는 )?{THING})?[은는이가을를도]? ?(?:있으면 |필요 ?)?"
    "(?:없(?!으면 (?:안|못|허전|섭섭|아쉬))|빼(?!놓)|말고|싫|별로|제외|안 |못 ))?")
VEGETARIAN = re.compile(
    "채식(?!.{0,4}(?:안 |아니))|비건|(?:고기|육류)(?:와|나|도|이?랑|하고)? ?(?:생선|해산물|해물)"
    r"[^.?!\d]{0,10}?(?:없|빼|안 |못 |싫|않|말|제외)|(?<![가-힣])고기[가는를도]? ?(?:없|빼|안 |못 )")
DIGITS = r"\d일이삼사오육칠팔구십백천만"
AMOUNT = re.compile(  # bounded, so that a long text is read in no time
    rf"(?<![가-힣\d,.])([{DIGITS}][{DIGITS},. ]{{0,20}}?) ?"
    "(원(?![숭룸해합]|하[는지면]|피스)|칼로리|킬로칼로리|kcal)", re.IGNORECASE)
FLOOR = re.compile(r" ?(?:부터|에서|~|(?:이상|[을이]? ?넘는)(?![^.?!]{0,12}(?:안 |못|싫|말|않|없)))")
# Another subject is named, and nothing to eat: 저녁에 볼 영화 is no request for a dish.
OTHER = re.compile("날씨|영화|드라마|노래|음악|소설|책 ?(?:추천|한|좀)|게임|여행|호텔|주식|환율|달러")
EAT = re.compile(rf"먹|음식|메뉴|요리|밥|식사|끼|맛|시킬|주문|당[기겨]|국물|[한운찬] {THING}")
ASK_AGAIN = re.compile(
    rf"(?:다른|딴|새로운) ?{THING}|하나 ?더|더 (?:추천|권|알려|골라|없|있)|말고|바[꿔꾸]|질[렸려]|"
    "별로|싫|안 당[기겨]|또 (?:뭐|뭘|무|어떤|없|있|추천|하나|권|골라|알려)|(?:어제|아까|이미) ?먹었")


def read_request(text: str) -> dict[str, str | int | bool]:
    """Return the constraints of a request, in the order in which it states them.

    >>> read_request("고기도 생선도 안 먹어요. 매운 거 말고 담백한 걸로 9천 원 이하요.")
    {'vegetarian': True, 'taste': '담백한', 'max_price': 9000}
    """
    if OTHER.search(text) and not EAT.search(text):
        return {}
    found: list[tuple[int, str, str | int | bool]] = []
    if match := VEGETARIAN.search(text):  # its 고기 and 생선 are not the base of a dish
        found.append((match.start(), "vegetarian", True))
        text = text[: match.start()] + " " * len(match[0]) + text[match.end() :]
    found += [(match.start(), key, value) for key, value, rule in RULES
              for match in rule.finditer(text) if not TAKEN_BACK.match(text, match.end())]
    if match := ALONE.search(text) or MANY.search(text):
        found.append((match.start(), "company", "혼자" if match.re is ALONE else "여럿"))
    if match := SOUP.search(text):
        found.append((match.start(), "soup", not match["no"]))
    for match in AMOUNT.finditer(text):
        if not FLOOR.match(text, match.end()):
            key = "max_price" if match[2] == "원" else "max_kcal"
            found.append((match.start(), key, round(_number(match[1]))))
    found.sort(key=lambda one: one[0])
    first = {key: value for _, key, value in reversed(found)}
    return {key: first[key] for _, key, _ in found}


def read_conversation(messages: Messages) -> dict[str, str | int | bool] | None:
    """Return the constraints that the last message asks for; None: not about a dish.

    Who asks for another dish asks for it with the constraints stated last.

    >>> chat = zip(["user", "assistant", "user"], ["얼큰한 거요.", "짬뽕이요.", "다른 거요."])
    >>> read_conversation([{"role": role, "content": text} for role, text in chat])
    {'taste': '얼큰한'}
    """
    *before, last = [m["content"] for m in messages if m["role"] == "user"] or [""]
    if limits := read_request(last):
        return limits
    if not ASK_AGAIN.search(last) or (OTHER.search(last) and not EAT.search(last)):
        return None
    return next(filter(None, map(read_request, reversed(before))), None)


def _number(text: str) -> float:
    """Return a number: 12,000, 1만 2천 or 만 이천; 0 for none."""
    for sign, size in {"만": 10_000, "천": 1000, "백": 100, "십": 10}.items():
        left, found, right = text.partition(sign)
        if found:
            return (_number(left) or 1) * size + _number(right)
    if digits := re.search(r"\d+(?:\.\d+)?", text.replace(",", "")):
        return float(digits[0])
    return max("일이삼사오육칠팔구".find(text.strip()[-1:] or " ") + 1, 0)
