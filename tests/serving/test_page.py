"""The web page in Chromium with a real server: by mouse and by keyboard, narrow and wide, light and dark."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

from lorerm.serving.app import PAGE, create_app  # noqa: E402 - only where there is a server
from lorerm.serving.keys import new_key  # noqa: E402
from lorerm.serving.settings import Settings  # noqa: E402
from servers import prepared  # noqa: E402

pytestmark = pytest.mark.browser
READY = "body:not([aria-busy])"
EXAMPLES = json.loads((PAGE / "examples.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def address(people_model, tmp_path_factory):
    """The address of `lorerm serve MODEL`."""
    database = tmp_path_factory.mktemp("database") / "feedback.sqlite"
    command = [
        sys.executable,
        "-m",
        "lorerm",
        "serve",
        str(people_model),
        "--port",
        "0",
        "--database",
        f"sqlite:///{database}",
    ]
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        wait_until_it_listens(found[0])
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stdout.close()


def wait_until_it_listens(address):
    host, _, port = address.removeprefix("http://").partition(":")
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        threading.Event().wait(0.1)
    pytest.fail(f"nothing listens at {address}")


@pytest.fixture(scope="module")
def locked(people_model, tmp_path_factory):
    """The address of a server that asks for a key, and the key."""
    key, line = new_key()
    database = tmp_path_factory.mktemp("locked") / "feedback.sqlite"
    settings = Settings(path=str(people_model), database=f"sqlite:///{database}", encoder={"model": None}, keys=(line,))
    prepared(settings.database).close()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="warning", lifespan="on"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            wait_until_it_listens(url)
            yield url, key
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture
def opened(browser):
    """Opens a page in a new window; fails at the end if there was an error or a request to another server."""
    contexts, problems = [], []

    def call(url, *, width=1400, scheme="light", expected=(), **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: None if any(e in said.text for e in expected) else problems.append(said.text))
        page.on("request", lambda sent: None if sent.url.startswith(url) else problems.append(sent.url))
        page.goto(url)
        return page

    yield call
    for context in contexts:
        context.close()
    assert problems == []


def fetch(url, method="GET"):
    """The status and the JSON of a response to a request from outside the page."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as reply:  # noqa: S310
            return reply.status, json.loads(reply.read() or "null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def shown(page):
    """The texts of the two cards; None if there is no question."""
    page.wait_for_selector(f"{READY} #pair:not([hidden]) #left:not([disabled]), {READY} #settled:not([hidden])")
    if page.locator("#settled").is_visible():
        return None
    return [" ".join(page.locator(f"#{side} .text").inner_text().split()) for side in ("left", "right")]


def ranking(page):
    """The responses' indices in the example, best first, as the page shows them."""
    return [int(item.get_attribute("data-index")) for item in page.locator("#list > li").all()]


def responses_of(page):
    prompt = page.locator("#prompt").inner_text()
    return next(one["responses"] for one in EXAMPLES if one["prompt"] == prompt)


def index_of(text, responses):
    """The index of the response on a card, which shows no list marks and headings as text."""
    letters = re.sub(r"[^a-zA-Z]", "", text)
    return [re.sub(r"[^a-zA-Z]", "", response) for response in responses].index(letters)


def pick(page, side, how):
    before = int(page.locator("#picks").inner_text())
    if how == "click":
        page.locator("#left" if side == 0 else "#right").click()
    else:
        page.keyboard.press(how[side])
    page.wait_for_selector(f"{READY} #picks:text-is('{before + 1}')")


def play(page, prefers_short, how="click", most=15):
    """Pick the shorter, or the longer, until the page stops asking; return (chosen, rejected) of every pick."""
    responses, picks = responses_of(page), []
    while len(picks) < most and (texts := shown(page)) is not None:
        side = int((len(texts[0]) > len(texts[1])) == prefers_short)
        pick(page, side, how)
        picks.append(tuple(index_of(text, responses) for text in (texts[side], texts[1 - side])))
    return picks


def agreement(order, picks):
    """The share of picks that a ranking agrees with."""
    return sum(order.index(better) < order.index(worse) for better, worse in picks) / len(picks)


def user_of(page):
    return re.search(r"visitor-[0-9a-f]{24}", page.locator("#kept-what").inner_text())[0]


@pytest.mark.parametrize(
    ("width", "scheme", "prefers_short"),
    [(390, "light", True), (390, "dark", False), (1400, "light", False), (1400, "dark", True)],
)
def test_the_ranking_follows_the_picks(opened, address, width, scheme, prefers_short):
    page = opened(address, width=width, scheme=scheme)
    assert shown(page) is not None
    before = ranking(page)
    picks = play(page, prefers_short)
    after, responses = ranking(page), responses_of(page)
    assert len(picks) >= 5
    assert agreement(after, picks) >= 0.85
    if prefers_short:  # the population model prefers long ones, so these picks must reverse its ranking
        assert agreement(after, picks) > agreement(before, picks)
        assert len(responses[after[0]]) < len(responses[after[-1]])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#settled").is_visible()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dark == (scheme == "dark")


def test_the_page_shows_the_servers_weights(opened, address):
    page = opened(address)
    shown(page)
    course = [page.locator("#accuracy").inner_text()]
    population = [row.inner_text().split() for row in page.locator("#weights-table tbody tr").all()]
    assert page.locator("#kept-what").inner_text().startswith("Nothing yet.")
    for _ in range(3):
        pick(page, 0, "click")
        course.append(page.locator("#accuracy").inner_text())
    status, known = fetch(f"{address}/v1/users/{user_of(page)}")
    assert (status, known["answers"]) == (200, 3)
    page.locator("#weights summary").click()
    rows = [row.inner_text().replace("\u2212", "-").split() for row in page.locator("#weights-table tbody tr").all()]
    for row, weight, deviation in zip(rows, known["weights"], known["standard_deviation"], strict=True):
        assert [float(row[1]), float(row[2])] == pytest.approx([weight, 1.96 * deviation], abs=0.006)
    assert rows != population
    assert all(float(row[2]) <= float(row[4]) for row in rows)  # picks make the intervals no wider
    assert all(re.fullmatch(r"\d\d%", share) for share in course)
    assert len(set(course)) > 1
    for chart, dots in (("#weights-chart", len(rows)), ("#words-chart", 6)):
        box = page.locator(chart).bounding_box()
        drawn = [dot.bounding_box() for dot in page.locator(f"{chart} .dot").all()]
        assert len(drawn) == dots
        assert all(box["x"] <= dot["x"] and dot["x"] + dot["width"] <= box["x"] + box["width"] + 1 for dot in drawn)
    assert page.locator("#course .line").count() == 1


@pytest.mark.parametrize("keys", [("1", "2"), ("ArrowLeft", "ArrowRight")], ids=["digits", "arrows"])
def test_picks_by_keyboard_alone(opened, address, keys):
    page = opened(address)
    shown(page)
    picks = play(page, prefers_short=True, how=keys)
    assert agreement(ranking(page), picks) >= 0.85
    page.locator("#next-prompt").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{READY} #prompt:text-is('{EXAMPLES[1]['prompt']}')")


def test_another_prompt_waits_for_a_slow_server(opened, address):
    """Keys are ignored meanwhile, and the pair on the page always belongs to the prompt on the page."""
    page = opened(address)
    shown(page)
    page.route("**/answers", lambda route: (page.wait_for_timeout(300), route.continue_()))
    page.locator("#left").click()
    page.locator("#prompts").select_option(label=EXAMPLES[2]["prompt"])
    page.keyboard.press("1")
    page.wait_for_selector(f"{READY} #prompt:text-is('{EXAMPLES[2]['prompt']}')")
    assert {index_of(text, EXAMPLES[2]["responses"]) for text in shown(page)} < set(range(6))
    assert page.locator("#picks").inner_text() == "1"


def test_tab_reaches_everything_with_a_visible_focus(opened, address):
    page = opened(address)
    shown(page)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => { const one = document.activeElement;
                       return [one.id || one.tagName.toLowerCase(), getComputedStyle(one).outlineStyle]; }"""
        )
        if found[0] == "body":
            break
        reached.append(found)
    names = [name for name, _ in reached]
    assert reached[0][0] == "a"
    assert [name for name in names if name in ("prompts", "left", "right", "skip", "forget")] == [
        *("prompts", "left", "right", "skip", "forget")
    ]
    assert names.count("summary") == 6 + 1
    assert all(outline != "none" for _, outline in reached)
    page.locator("#right").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{READY} #picks:text-is('1')")
    assert page.evaluate("document.activeElement.id") == "right"


def test_a_pick_is_announced_to_screen_readers(opened, address):
    page = opened(address)
    shown(page)
    status = page.locator("#said")
    assert status.get_attribute("role") == "status"
    assert status.inner_text() == ""
    pick(page, 0, "click")
    assert re.search(r"^Pick 1\. .*%.*Expected accuracy: \d\d%", status.inner_text())
    assert page.locator("#weights-chart").get_attribute("aria-label").startswith("Your weights on 3 reward directions")


def test_no_pair_is_asked_twice_and_the_page_says_when_it_stops(opened, address):
    page = opened(address)
    asked = []
    while (texts := shown(page)) is not None:
        asked.append(frozenset(texts))
        assert len(asked) <= 15
        pick(page, len(asked) % 2, "click")  # at random, so that every pair is likely to be asked
    assert len(set(asked)) == len(asked)
    said = page.locator("#settled-what").inner_text()
    assert said == ("You have compared every pair." if len(asked) == 15 else "The ranking is settled.")
    assert said in page.locator("#said").inner_text()
    assert page.locator("#left").is_hidden()


def test_a_skipped_pair_is_replaced_by_another(opened, address):
    page = opened(address)
    first = shown(page)
    page.locator("#skip").click()
    page.wait_for_selector("#said:text('Skipped.')")
    assert shown(page) != first
    assert page.locator("#picks").inner_text() == "0"


def test_start_over_deletes_the_user(opened, address):
    page = opened(address)
    shown(page)
    before = ranking(page)
    pick(page, 0, "click")
    pick(page, 0, "click")
    user = user_of(page)
    assert fetch(f"{address}/v1/users/{user}")[0] == 200
    page.locator("#forget").click()
    page.wait_for_selector(f"{READY} #said:text('Deleted: the server stores nothing about {user}')")
    assert fetch(f"{address}/v1/users/{user}")[0] == 404
    assert page.locator("#picks").inner_text() == "0"
    assert ranking(page) == before
    pick(page, 1, "click")
    assert user_of(page) != user


def test_weights_apply_to_other_prompts(opened, address):
    page = opened(address)
    shown(page)
    page.locator("#prompts").select_option(label=EXAMPLES[1]["prompt"])
    shown(page)
    fresh = ranking(page)
    page.locator("#prompts").select_option(label=EXAMPLES[0]["prompt"])
    shown(page)
    play(page, prefers_short=True)
    page.locator("#prompts").select_option(label=EXAMPLES[1]["prompt"])
    shown(page)
    lengths = [len(response) for response in EXAMPLES[1]["responses"]]
    by_length = [(a, b) for a in range(6) for b in range(6) if lengths[a] < lengths[b]]
    assert agreement(ranking(page), by_length) > agreement(fresh, by_length)


def test_own_texts_are_ranked_and_shown_as_text(opened, address):
    page = opened(address, width=390)
    shown(page)
    page.locator("#prompts").select_option("own")
    dialog = page.locator("#own")
    dialog.get_by_text("Rank these").click()
    assert dialog.locator("#own-wrong").inner_text() == "Write at least two different responses."
    page.locator("#own-prompt").fill("Tea or <b>coffee</b>?")
    page.locator("#own-response-1").fill("Tea. <img src=x onerror=alert(1)>")
    page.locator("#own-response-2").fill("## Coffee\n- It is strong, and it is there.\n- It smells of the morning.")
    page.locator("#own-more").click()
    page.locator("#own-response-3").fill("Perhaps neither, who knows; it might depend on the hour, and on you.")
    dialog.get_by_text("Rank these").click()
    page.wait_for_selector("#prompt:text('Tea or <b>coffee</b>?')")
    texts = shown(page)
    assert page.locator("#list > li").count() == 3
    assert page.locator("main img, main b").count() == 0
    assert texts is None or len(set(texts)) == 2
    assert "Tea. <img src=x onerror=alert(1)>" in page.locator("#list").text_content()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_pick_whose_response_was_lost_is_sent_again_and_counts_once(opened, address):
    page = opened(address, expected=("net::ERR_FAILED",))
    shown(page)
    lost = []

    def lose(route):
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)  # the server has it, the page does not know
        route.abort()

    page.route("**/answers", lose)
    page.locator("#left").click()
    page.locator("#again").click()
    page.wait_for_selector(f"{READY} #picks:text-is('1')")
    assert lost == [200]
    assert page.locator("#error").is_hidden()
    assert fetch(f"{address}/v1/users/{user_of(page)}")[1]["answers"] == 1


def test_a_key_is_requested_and_kept_in_memory_only(opened, locked):
    url, key = locked
    page = opened(url, expected=("401",))
    page.wait_for_selector("#key-form:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "key"
    page.keyboard.type("not a key")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error-what:text('The API key is unknown')")
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    assert shown(page) is not None
    pick(page, 0, ("1", "2"))
    assert page.locator("#error").is_hidden()
    kept = page.evaluate(
        "[localStorage.length, sessionStorage.length, document.cookie, location.search, location.hash]"
    )
    assert kept == [0, 0, "", "", ""]
    assert page.locator("#key").input_value() == ""
    page.reload()
    page.wait_for_selector("#key-form:not([hidden])")


def test_nothing_moves_with_reduced_motion(opened, address):
    page = opened(address, reduced_motion="reduce")
    shown(page)
    for _ in range(3):
        pick(page, 0, "click")
        assert page.evaluate("document.getAnimations().length") == 0


def test_without_scripts_the_page_says_so(opened, address):
    page = opened(address, java_script_enabled=False)
    assert "needs JavaScript" in page.locator("noscript").inner_text()


def test_the_examples_have_many_styles():
    """Each prompt has responses that differ in length and style, so that picks can distinguish preferences."""
    assert len({one["prompt"] for one in EXAMPLES}) == len(EXAMPLES) >= 3
    for one in EXAMPLES:
        lengths = sorted(len(response.split()) for response in one["responses"])
        assert len(set(one["responses"])) == 6
        assert lengths[-1] >= 3 * lengths[0]
        assert all(a <= b for a, b in pairwise(lengths))
        assert sum("\n- " in response for response in one["responses"]) == 1
        assert any("perhaps" in response.lower() for response in one["responses"])
