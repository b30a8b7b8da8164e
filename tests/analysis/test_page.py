"""The page as a browser shows it: whole, quiet, within its width, and telling of every mark."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

import analysis.report
from analysis.data.study import Study
from analysis.page import page
from analysis.questions.answers import answered
from analysis.say.summary import sentences
from analysis.say.verdicts import at_a_glance
from analysis.validity.checklist import validity
from tests.helpers.everything import METHODS, everything

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
HOSTILE = '<script>alert("x")</script>&'


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Study:
    return everything(tmp_path_factory.mktemp("page"), trials=10)


@pytest.fixture(scope="module")
def found(made):
    return answered(made)


@pytest.fixture(scope="module")
def written(made, found, outlined):
    """The directory of the whole report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis.report, "load", lambda *paths: made)
        patch.setattr("analysis.questions.answers.answered", lambda study, watch: found)
        analysis.report.write(made.path)
    return made.path / "report"


@pytest.fixture(scope="module")
def html(written):
    return (written / "index.html").read_text()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def test_it_is_whole_and_asks_for_nothing(html):
    opened: list[str] = []
    asked: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attributes):
            at = dict(attributes)
            if tag in ("script", "img", "link", "iframe"):
                asked.append(at.get("src") or at.get("href") or "")
            if tag not in ("meta", "link", "br"):
                opened.append(tag)

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Tags().feed(html)
    assert opened == [] and set(asked) <= {"", "data:,"}
    assert not re.search(r"@import|url\(['\"]?http|fetch\(|src=", html)


def test_answers_and_checks_stand_above_the_figures(found, html):
    first = html.index("<figure ")
    plain = re.sub(r"</?span[^>]*>", "", html)
    for said in sentences(found):
        assert said.count("\n") == 0 and said[1:30].replace("'", "&#x27;") in plain
    [compensation] = found.compensations
    assert f"{compensation.lost.gap * 100:.1f} points" in html[:first]
    powers = [each.power for each in found.scalings["lr"] if each.told]
    assert powers
    for power in powers:
        assert f"{power.psi:.2f} [{power.low:.2f}, {power.high:.2f}]" in html[:first]
    each = re.compile(r'<details class="check (\w+)"><summary>.*?</span> (.*?)</summary>')
    names = each.findall(html[:first])
    assert names == [(check.verdict, check.name) for check in validity(found)]


def test_the_first_screen_is_three_short_verdicts_with_their_numbers(found, html):
    cards = re.findall(r'<div class="answer">(.*?)</details></div>', html, re.DOTALL)
    for card, each in zip(cards, at_a_glance(found), strict=True):
        shown = re.sub(r"<details>.*", "", card)
        assert f'<p class="words">{each.words}</p>' in shown
        assert re.sub(r"<[^>]+>", "", shown).endswith(each.sentence.replace("'", "&#x27;"))
        places = [float(at) for at in re.findall(r"(?:left|width):([\d.]+)%", shown)]
        assert all(0 <= at <= 100 for at in places)
        assert len(re.findall('class="dot"', shown)) == len(each.numbers)
        assert each.numbers or each.words == "not told"
    assert cards[1].count('class="bar"') == len(at_a_glance(found)[1].numbers)


def test_a_term_is_explained_where_it_is_used(html):
    terms = dict(
        re.findall(r'<span class="term" tabindex="0" data-says="(.*?)">(.*?)</span>', html)
    )
    assert "LR*" in terms.values() and "rule" not in terms.values()
    meaning = next(told for told, term in terms.items() if term == "LR*")
    assert meaning.startswith("learning rate and radius at which the surface")


def test_every_link_leads_to_a_file(written, html):
    links = {unquote(link) for link in re.findall(r'href="([^"#]+)"', html)} - {"data:,"}
    assert {"scaling.csv", "methods.tex", "latex/scaling.tex"} <= links and len(links) > 60
    assert all((written / link).read_bytes().count(b"\n") > 1 for link in links)


def test_the_data_tell_of_every_trial_drawn(made, html):
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    named = {spot[2] for spots in data["spots"].values() for spot in spots if spot[2]}
    ended = made.trials[made.trials["status"] != "running"]
    assert named == set(ended["trial_id"]) == set(data["trials"])
    row = made.trials.iloc[0]
    told = dict(zip([*data["columns"], "command"], data["trials"][row["trial_id"]], strict=True))
    assert told["LR"] == pytest.approx(row["lr"], rel=1e-3) and told["B"] == row["batch_size"]
    assert told["method"] == row["method"] and told["ρ"] is None  # of a plain method
    assert told["command"].startswith(f"python -m study.replay {made.path.name} {row['trial_id']} ")


def test_no_name_gets_out_of_its_text(tmp_path):
    made = everything(tmp_path, trials=4, sizes=(64, 256))
    trials = made.trials.replace({"method": {"momentum+asam": f"momentum+{HOSTILE}"}})
    config = made.config | {"name": HOSTILE, "notes": [HOSTILE],
                            "methods": [*METHODS[:2], f"momentum+{HOSTILE}"]}  # fmt: skip
    text = page(answered(replace(made, trials=trials, config=config)), [], HOSTILE, [])
    assert HOSTILE not in text and text.count("<script") == 2
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_it_renders_within_its_width(browser, written, width, scheme):
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    errors, asked = [], []
    tab.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    url = (written / "index.html").as_uri()
    tab.goto(url)
    assert errors == [] and asked == [url]
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # Nothing sticks out but what scrolls in its own box.
    out = tab.evaluate("""() => [...document.querySelectorAll('body *')]
        .filter(e => !e.closest('.scroll, pre, svg'))
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
        .map(e => e.outerHTML.slice(0, 80))""")
    assert out == []
    sizes = tab.evaluate("""() => [...document.querySelectorAll('figure svg')].map(svg => [
        svg.getBoundingClientRect().width, svg.querySelectorAll('use, path').length])""")
    assert len(sizes) >= 20 and all(w > 250 and inked > 10 for w, inked in sizes)
    # No text of a figure is cut off.
    cut = tab.evaluate("""() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
        const box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].filter(text => {
            const own = text.getBoundingClientRect();
            return own.left < box.left - 1 || own.right > box.right + 1
                || own.top < box.top - 1 || own.bottom > box.bottom + 1;
        }).map(text => svg.closest('figure').id + ': ' + text.textContent);
    })""")
    assert cut == []
    back = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")
    tab.close()


def test_the_pointer_tells_which_trial_a_mark_is(browser, made, written):
    tab = browser.new_page(viewport={"width": 1200, "height": 800})
    tab.goto((written / "index.html").as_uri())
    at = tab.evaluate("""() => {
        const figure = document.getElementById('lr_response-momentum');
        figure.scrollIntoView({behavior: 'instant', block: 'center'});
        const spots = JSON.parse(document.getElementById('data').textContent).spots[figure.id];
        const spot = spots.find(s => spots.every(  // one that no other lies upon
            t => t === s || Math.hypot(t[0] - s[0], t[1] - s[1]) > 4));
        const matrix = figure.querySelector('svg').getScreenCTM();
        return [matrix.a * spot[0] + matrix.e, matrix.d * spot[1] + matrix.f, spot[2]];
    }""")
    tip = tab.locator("#tip")
    assert tip.is_hidden()
    tab.mouse.move(at[0], at[1])
    said = tip.inner_text()
    row = made.trials.set_index("trial_id").loc[at[2]]
    assert at[2] in said and f"LR {row['lr']:.4g}" in said
    assert f"python -m study.replay {made.path.name} {at[2]}" in said
    assert tab.locator("circle.ring").count() == 1
    tab.mouse.move(5, 5)
    assert tip.is_hidden()
    tab.mouse.click(at[0], at[1])
    tab.mouse.move(5, 5)
    assert tip.is_visible()  # a click keeps it, to be copied
    tab.keyboard.press("Escape")
    assert tip.is_hidden()
    tab.locator("#compensation svg").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    tab.mouse.wheel(0, 60)
    tab.wait_for_timeout(200)
    assert "B=" in tip.inner_text()  # it stays with its mark
    tab.close()
