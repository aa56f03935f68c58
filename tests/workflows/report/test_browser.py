"""The page of a run in a real browser.

It works on a desktop and on a phone, needs no network, and shows what a run wrote as text, never as markup.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.generative.images import save_png
from workflows import analyze

webdriver = pytest.importorskip("selenium.webdriver")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

DESKTOP, PHONE = 1200, 390
WIDTHS = pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])
MISSING = "\N{EN DASH}"
DEADLINE_S, LOADED_WITHIN_S = 20, 60
HOSTILE = "<script>window.hacked=1</script></script><img src=x onerror=window.hacked=1>{{7*7}}"
HOSTILE_NAME = "<img src=x onerror=window.hacked=1>&lt;"
BEST, FAILED = "ab_00001", "ab_00005"
SCORES = {  # of each report; a trial of four ran to its end
    "ab_00000": ("TERMINATED", [40, 30, 20, 9.5]),
    BEST: ("TERMINATED", [35, 20, 10, 4.25]),
    "ab_00002": ("TERMINATED", [50, 22, 15, 12]),
    "ab_00003": ("TERMINATED", [60]),
    "ab_00004": ("TERMINATED", [70, 55]),
    FAILED: ("ERROR", [45]),
    "ab_00006": ("ERROR", []),
    "ab_00007": ("RUNNING", [41, 38]),
    "ab_00008": ("PENDING", []),
    "ab_00009": ("TERMINATED", [math.inf]),
}
NAMED_MESSAGES = ("GPU stall due to ReadPixels",)
"""What the console may say: WebGL without a GPU draws slowly."""


# Runs


def write_run(
    folder: Path, record: dict[str, Any], trials: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]]
) -> Path:
    """Write a run folder as Tune would: per trial a status, a config, and its reports."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    saved = []
    for trial_id, (status, config, reports) in trials.items():
        saved.append([json.dumps({"trial_id": trial_id, "status": status, "config": config}), "{}"])
        (folder / trial_id).mkdir()
        lines = [
            json.dumps({"training_iteration": i, "config": config, "time_total_s": 1.5 * i, **more})
            for i, more in enumerate(reports, 1)
        ]
        (folder / trial_id / "result.json").write_text("".join(line + "\n" for line in lines))
    (folder / "experiment_state-2026-01-01_00-00-00.json").write_text(json.dumps({"trial_data": saved}))
    return folder


def write_search(
    folder: Path, trials: dict[str, tuple[str, dict[str, Any], Sequence[float]]], num_reports: int = 4
) -> Path:
    baseline = next(iter(trials.values()))[1]
    record = {
        "program": "tune_gan",
        "metric": "fid_mnist",
        "mode": "min",
        "baseline": baseline,
        "num_reports": num_reports,
    }
    record |= {
        "preset": {"batch_size": 128},
        "flags": {"seed": 0, "num_samples": len(trials)},
        "dataset": "mnist-10k",
    }
    reports = {
        trial_id: (
            status,
            config,
            [
                {"updates": 10 * i, "fid_mnist": score, "classifier_score": 9 - 0.1 * i}
                for i, score in enumerate(scores, 1)
            ],
        )
        for trial_id, (status, config, scores) in trials.items()
    }
    return write_run(folder, record, reports)


def small_search(folder: Path) -> Path:
    """A search with a trial of each role. The failed trial's config and error contain markup."""
    configs = {
        trial_id: {
            "lr": 0.001 / (i + 3),
            "width": 16 * (1 + i % 2),
            "loss": HOSTILE if trial_id == FAILED else "hinge" if i % 3 else "plain",
        }
        for i, trial_id in enumerate(SCORES)
    }
    write_search(
        folder,
        {trial_id: (status, configs[trial_id], scores) for trial_id, (status, scores) in SCORES.items()},
    )
    (folder / FAILED / "error.txt").write_text(f"Traceback\nRuntimeError: {HOSTILE}\n")
    for trial_id in ("ab_00000", BEST, FAILED):
        for updates in (0, 10, 40):
            save_png(
                np.random.default_rng(updates).integers(0, 256, (56, 56), np.uint8),
                folder / trial_id / "samples" / f"{updates:08d}.png",
            )
    return folder


def large_search(folder: Path, trials: int = 1500) -> Path:
    generator = np.random.default_rng(0)

    def trial(i: int) -> tuple[str, dict[str, Any], Sequence[float]]:
        config = {
            "lr": 10 ** generator.uniform(-5, -2),
            "width": int(generator.choice([16, 32])),
            "beta1": generator.random(),
        }
        num_reports = int(generator.choice([1, 2, 4, 8]))
        return (
            "ERROR" if i % 50 == 7 else "TERMINATED",
            config,
            list(generator.random(num_reports) * 100 / np.arange(1, num_reports + 1)),
        )

    return write_search(folder, {f"ab_{i:05d}": trial(i) for i in range(trials)}, num_reports=8)


def training(folder: Path) -> Path:
    metric = "evaluation/env_runners/episode_return_mean"
    record = {
        "program": "train_dqn",
        "metric": metric,
        "mode": "max",
        "flags": {"env": "CartPole-v1", "seed": 0},
        "preset": {"lr": 0.001},
    }
    reports = [
        {
            "num_env_steps_sampled_lifetime": 1000 * i,
            "env_runners": {"episode_return_mean": 12.0 * i},
            "evaluation": {"env_runners": {"episode_return_mean": 25.0 * i}} if i % 2 else {},
            "learners": {"default_policy": {"total_loss": 1 / i, "qf_mean": 3.0 * i}},
            **{
                "env_steps_per_s": 2000 + i,
                "updates_per_s": 500 + i,
                "learner_idle_share": 0.2,
                "env_runners_idle_share": 0.8,
                "weights_lag": i % 3,
            },
        }
        for i in range(1, 20)
    ]
    return write_run(folder, record, {"cd_00000": ("TERMINATED", {"lr": 0.001}, reports)})


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages that `analyze.py` writes of runs, by what they are of."""
    folder, output = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("pages")
    search, other = small_search(folder / "search"), small_search(folder / HOSTILE_NAME)
    assert analyze.main([str(search), str(other), "--output", str(output)]) == 0
    for run in (training(folder / "training"), large_search(folder / "large")):
        assert analyze.main([str(run), "--output", str(output / run.name)]) == 0
    found = {name: output / name / "report.html" for name in ("search", "training", "large")}
    return {
        **found,
        "hostile": output / HOSTILE_NAME / "report.html",
        "comparison": output / "comparison.html",
    }


# The browser


class Browser:
    """A page in headless Chromium: what it shows, what it says in its console, what it asks for."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, width: int) -> None:
        """Open a page in a window of that width, a phone's or not, and wait until its charts are drawn."""
        phone = width == PHONE
        self.driver.get("about:blank")
        self.color_scheme("light")
        size = {"width": width, "height": 844 if phone else 900, "deviceScaleFactor": 1, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(path.as_uri())
        self.wait(
            "[...document.querySelectorAll('.panels > div')].every((one) => one.querySelector('.nsewdrag, .parcoords .axis'))"
        )

    def color_scheme(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def ask(self, expression: str, *arguments: Any) -> Any:
        """Return what a JavaScript expression of `arguments` is in the page."""
        return self.driver.execute_script(f"return {expression}", *arguments)

    def wait(self, expression: str, *arguments: Any) -> None:
        """Wait until a JavaScript expression is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, DEADLINE_S, 0.05).until(
            lambda _: self.ask(expression, *arguments), f"never true: {expression}"
        )

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """Return what is to be read in every element, in order."""
        return self.ask("[...document.querySelectorAll(arguments[0])].map((one) => one.innerText)", selector)

    def texts_drawn(self, selector: str) -> list[str]:
        """Return the text of every element of a drawing, in order."""
        return self.ask(
            "[...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector
        )

    def touch(self, x: float, y: float, up: int = 0) -> None:
        """Put a finger on a place of the window, move it up by so many pixels, and lift it."""
        for at in range(0, up + 1, 20):
            points = [{"x": x, "y": y - at}]
            self.driver.execute_cdp_cmd(
                "Input.dispatchTouchEvent",
                {"type": "touchMove" if at else "touchStart", "touchPoints": points},
            )
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def complaints(self) -> list[str]:
        """Return what the console said since the page was opened, but for NAMED_MESSAGES."""
        said = [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]
        return [message for message in said if not any(named in message for named in NAMED_MESSAGES)]

    def requested(self) -> set[str]:
        """Return the requests since the page was opened, without those of the browser's own pages.

        Of data and blobs, it returns only the first word.
        """
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        urls = [
            one["request"]["url"] for one in sent if not one["documentURL"].startswith(("chrome:", "about:"))
        ]
        return {url.partition(":")[0] if url.startswith(("data:", "blob:")) else url for url in urls}

    def nameless(self, *roles: str) -> tuple[int, list[str]]:
        """Return how many controls and images of `roles` a screen reader finds, and those without a name."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        found = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
        return len(found), [str(node) for node in found if not node.get("name", {}).get("value")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of this file."""
    from selenium.webdriver.chrome.service import Service

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no Chromium and chromedriver on the PATH (Debian: chromium, chromium-driver)")
    profile = tempfile.mkdtemp(prefix="chromium-")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "disable-gpu",
        "enable-unsafe-swiftshader",
        "no-first-run",
    ):
        options.add_argument(f"--{flag}")
    for flag in (
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    try:
        driver = webdriver.Chrome(options=options, service=Service(chromedriver))
        try:
            driver.set_page_load_timeout(LOADED_WITHIN_S)
            driver.set_script_timeout(DEADLINE_S)
            yield Browser(driver)
        finally:
            driver.quit()
            driver.command_executor.close()
    finally:
        shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def opened(browser: Browser, pages: dict[str, Path]) -> Iterator[Callable[..., Browser]]:
    """Open a page. At the end of the test, the console has no errors and the page sent no requests."""
    shown: list[Path] = []

    def check() -> None:
        assert browser.complaints() == []
        assert browser.requested() - {"data", "blob"} == {shown[-1].as_uri()}

    def open_page(name: str, width: int = DESKTOP) -> Browser:
        if shown:
            check()
        shown.append(pages[name])
        browser.open(pages[name], width)
        return browser

    yield open_page
    check()


# What must hold of every page

OVERLAPPING = """(() => {
  const box = (one) => one.getBoundingClientRect();
  const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
  const found = [];
  for (const panel of document.querySelectorAll(".panels > div")) {
    const labels = [...panel.querySelectorAll(".legendtext, .xtick text, .nsewdrag")];
    labels.forEach((a, i) => labels.slice(i + 1).forEach((b) => {
      if (!apart(box(a), box(b))) found.push(a.textContent + " on " + b.textContent);
    }));
    const inside = panel.className ? { left: 0, right: innerWidth } : box(panel);
    for (const one of labels.concat(panel.className ? [] : [...panel.querySelectorAll(".main-svg")])) {
      if (box(one).left < inside.left - 1 || box(one).right > inside.right + 1) found.push(one.textContent + " beyond its panel");
    }
  }
  return found;
})"""
"""What covers what in the charts: legends, the names along an axis, the plot itself, the panel beside."""


@WIDTHS
@pytest.mark.parametrize("name", ["search", "hostile", "training", "comparison", "large"])
def test_every_page_opens_fits_and_names_its_controls(
    opened: Callable[..., Browser], name: str, width: int
) -> None:
    browser = opened(name, width)
    assert browser.ask("innerWidth") == width
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask(f"{OVERLAPPING}()") == []
    num_named, nameless = browser.nameless("button", "textbox", "searchbox", "image", "img", "link", "dialog")
    assert nameless == []
    assert (
        num_named
        >= browser.ask("document.querySelectorAll('main :is(button, input, img, [role=img])').length")
        > 4
    )
    assert browser.ask("window.hacked") is None


# What a reader does


@WIDTHS
def test_a_click_on_a_columns_name_sorts_and_what_is_missing_stays_at_the_end(
    opened: Callable[..., Browser], width: int
) -> None:
    browser = opened("search", width)
    column = browser.texts("#rows thead th").index("fid_mnist") + 1
    head, cells = f"#rows thead th:nth-child({column})", f"#rows tbody td:nth-child({column})"
    assert browser.texts(cells)[:3] == ["4.25", "9.5", "12"]  # the best, the baseline, who ran to the end
    browser.find(f"{head} button").click()
    assert browser.texts(cells) == ["4.25", "9.5", "12", "38", "45", "55", "60", "inf", MISSING, MISSING]
    assert browser.ask(f"document.querySelector('{head}').ariaSort") == "ascending"
    browser.find(f"{head} button").click()
    assert browser.texts(cells) == ["inf", "60", "55", "45", "38", "12", "9.5", "4.25", MISSING, MISSING]
    assert browser.ask(f"document.querySelector('{head}').ariaSort") == "descending"
    browser.find("#rows thead th:first-child button").click()
    assert browser.texts("#rows tbody td:first-child") == sorted(SCORES)
    assert browser.ask("document.querySelectorAll('[aria-sort]').length") == 1


@WIDTHS
def test_a_filter_keeps_the_rows_with_a_text_and_says_how_many(
    opened: Callable[..., Browser], width: int
) -> None:
    from selenium.webdriver import Keys

    browser = opened("search", width)
    assert browser.find("#shown").text == "10 of 10"
    browser.find("#filter").send_keys("Stopped")
    assert browser.find("#shown").text == "3 of 10"
    assert browser.texts("#rows tbody td:first-child") == ["ab_00004", "ab_00003", "ab_00009"]
    browser.find("#rows thead button").click()  # what is sorted is what is left
    assert browser.texts("#rows tbody td:first-child") == ["ab_00003", "ab_00004", "ab_00009"]
    browser.find("#filter").send_keys(" no such text")
    assert (browser.find("#shown").text, browser.texts("#rows tbody tr")) == ("0 of 10", [])
    browser.find("#filter").send_keys(Keys.CONTROL + "a", Keys.DELETE)
    assert browser.find("#shown").text == "10 of 10"


@WIDTHS
def test_a_trial_opens_with_all_that_is_known_of_it_and_closes_by_its_button_and_by_escape(
    opened: Callable[..., Browser], width: int
) -> None:
    from selenium.webdriver import ActionChains, Keys

    browser = opened("search", width)
    browser.find(f"#rows [data-trial='{BEST}']").click()
    browser.wait("document.getElementById('detail').open")
    assert browser.find("#detail-title").text == f"{BEST}: the best"
    known = dict(zip(browser.texts("#detail dt"), browser.texts("#detail dd"), strict=True))
    assert (
        known.items()
        >= {"lr": "0.00025", "width": "32", "loss": "hinge", "batch_size": "128", "fid_mnist": "4.25"}.items()
    )
    assert browser.texts("#detail figcaption") == [
        f"samples after {updates} updates" for updates in (0, 10, 40)
    ]
    browser.wait(
        "[...document.querySelectorAll('#detail img')].every((one) => one.complete && one.naturalWidth === 112)"
    )
    num_named, nameless = browser.nameless("button", "image", "img", "dialog")
    assert (num_named, nameless) == (
        5,
        [],
    )  # the dialog, its button and three pictures; what is behind is out of reach
    box = browser.ask("document.getElementById('detail').getBoundingClientRect()")
    assert box["left"] >= 0
    assert box["right"] <= width
    assert browser.ask(
        "document.getElementById('detail').scrollWidth <= document.getElementById('detail').clientWidth"
    )
    browser.find("#close").click()
    browser.wait("!document.getElementById('detail').open")
    browser.find(f".failed [data-trial='{FAILED}']").click()
    browser.wait("document.getElementById('detail').open")
    assert browser.find("#detail .error").text == f"RuntimeError: {HOSTILE}"
    assert len(browser.texts("#detail img")) == 3
    ActionChains(browser.driver).send_keys(Keys.ESCAPE).perform()
    browser.wait("!document.getElementById('detail').open")


@WIDTHS
def test_a_click_on_a_point_of_a_curve_opens_its_trial(opened: Callable[..., Browser], width: int) -> None:
    from selenium.webdriver import ActionChains

    browser = opened("search", width)
    points = "[...document.querySelectorAll('[data-chart=curves] .points path')]"
    last = browser.ask(
        f"{points}.sort((a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y).at(-1)"
    )  # 4.25 is the lowest
    browser.ask("arguments[0].scrollIntoView({block: 'center'})", last)
    if width == PHONE:
        box = browser.ask("arguments[0].getBoundingClientRect()", last)
        browser.touch(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    else:
        ActionChains(browser.driver).move_to_element(last).perform()
        browser.wait(
            f"document.querySelector('[data-chart=curves] .hovertext')?.textContent.startsWith('{BEST}')"
        )
        ActionChains(browser.driver).click(last).perform()
    browser.wait("document.getElementById('detail').open")
    assert browser.find("#detail-title").text == f"{BEST}: the best"


def test_a_finger_on_a_chart_scrolls_the_page(opened: Callable[..., Browser]) -> None:
    browser = opened("training", PHONE)
    browser.ask("document.querySelector('.panels').scrollIntoView()")
    before, box = (
        browser.ask("scrollY"),
        browser.ask("document.querySelector('.panels .nsewdrag').getBoundingClientRect()"),
    )
    browser.touch(box["x"] + box["width"] / 2, box["bottom"] - 5, up=200)
    browser.wait("scrollY > arguments[0] + 100", before)


# Colours, and text


def luminance(color: str) -> float:
    """Return the relative luminance of `rgb(...)` (WCAG 2.2)."""
    values = np.array([float(value) for value in color[color.index("(") + 1 : -1].split(",")[:3]]) / 255
    return float(
        np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        @ [0.2126, 0.7152, 0.0722]
    )


def test_the_page_and_its_charts_turn_dark_and_light_with_the_system_and_are_readable_in_both(
    opened: Callable[..., Browser],
) -> None:
    browser = opened("search")
    parts = {"page": "body", "link": "button.link", "dim": "dt", "bad": ".failed h2"}
    drawn = {
        "ticks": ".xtick text",
        "legend": ".legendtext",
        "title": ".ytitle",
        "uprights": ".parcoords .axis text",
    }
    papers = {}
    for scheme in ("light", "dark", "light"):
        browser.color_scheme(scheme)
        browser.wait(
            "getComputedStyle(document.querySelector('.main-svg')).backgroundColor === getComputedStyle(document.body).backgroundColor"
        )
        style = "getComputedStyle(document.querySelector(arguments[0]))"
        paper = browser.ask(f"{style}.backgroundColor", "body")
        assert papers.setdefault(scheme, paper) == paper
        inks = [browser.ask(f"{style}.color", selector) for selector in parts.values()]
        inks += [browser.ask(f"{style}.fill", selector) for selector in drawn.values()]
        for ink in inks:
            darker, lighter = sorted([luminance(ink), luminance(paper)])
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (scheme, ink, paper)
    assert luminance(papers["dark"]) < 0.05 < 0.9 < luminance(papers["light"])


def test_what_a_run_wrote_is_shown_as_it_is_and_never_read_as_markup(opened: Callable[..., Browser]) -> None:
    browser = opened("hostile")
    assert browser.driver.title == browser.find("h1").text == f"tune_gan: {HOSTILE_NAME}"
    assert f"{FAILED}: RuntimeError: {HOSTILE}" in browser.texts(".failed li")
    assert HOSTILE in browser.texts("#rows tbody td")
    cut = f"{HOSTILE[:8]}…{HOSTILE[-7:]}"
    assert cut in browser.texts_drawn("[data-chart=scatter] .xtick text")
    assert cut in browser.texts_drawn("[data-chart=parallel] .tick text")
    assert browser.ask("document.querySelectorAll('img[src=x], .panels a, .panels img').length") == 0
    assert browser.ask("window.hacked") is None
    browser = opened("comparison")
    assert HOSTILE_NAME in browser.texts("#rows tbody td:first-child")
    assert HOSTILE_NAME in browser.texts_drawn(".legendtext")
    assert browser.ask("window.hacked") is None


def test_the_first_thousand_of_many_trials_are_shown_and_the_page_says_so(
    opened: Callable[..., Browser],
) -> None:
    browser = opened("large")
    assert browser.find("#shown").text == "1000 of 1000"
    assert "These are 1000 of 1500, the best first" in browser.find("section[aria-labelledby=table] p").text
    shown = set(browser.texts("#rows tbody td:first-child"))
    assert (
        set(browser.texts(".failed button")) <= shown
    )  # the others are no buttons: they have nothing to open
