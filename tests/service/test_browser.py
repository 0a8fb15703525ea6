"""The page in a real browser: launch, watch, choose, export, stop, resume; and what it looks like.

Set `SWEEP_SCREENSHOTS` to a folder to keep the pictures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serving import Served, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("browser"), "--rate", "1000", "--running", "2") as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        # Without one at hand a developer may go on; CI is to pass over nothing.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium: apt install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield launched
        launched.close()


@pytest.fixture
def page(browser, service) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, base_url=service.url, accept_downloads=True
    )
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def screenshot(page: Page, name: str) -> None:
    if folder := os.environ.get("SWEEP_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def small(service) -> Served:
    service.post("/studies", {"file": "small.toml"}, 201)
    other = ["name=other", "training.epochs=4", "seeds.sampler=7"]
    service.post("/studies", {"file": "small.toml", "overrides": other}, 201)
    service.await_state("small", "complete")
    service.await_state("other", "complete")
    return service


def test_a_study_is_launched_from_the_page_watched_stopped_and_resumed(page, service):
    page.goto("/launch")
    page.locator("#file").select_option("long.toml")
    page.locator("#name").fill("from-the-page")
    expect(page.locator("#launch")).to_be_enabled()
    page.locator("#launch").click()
    page.wait_for_url("**/studies/from-the-page")
    expect(page.locator("#state")).to_contain_text("running", timeout=60_000)
    expect(page.locator("#front-plot .scatterlayer .point").nth(2)).to_be_attached(timeout=90_000)
    shown = page.locator("#progress")
    before = shown.inner_text()
    expect(shown).not_to_have_text(before, timeout=60_000)  # by itself
    page.locator("#stop").click()
    expect(page.locator("#state")).to_contain_text("stopped", timeout=60_000)
    done = service.get("/studies/from-the-page")["done"]
    page.locator("#resume").click()
    service.await_study("from-the-page", lambda found: found["done"] > done)
    page.locator("#stop").click()
    expect(page.locator("#state")).to_contain_text("stopped", timeout=60_000)


@pytest.mark.usefixtures("small")
def test_optunas_dashboard_is_linked_and_shows_the_same_studies(page):
    page.goto("/")
    page.locator("#dashboard").click()
    page.wait_for_url("**/dashboard")
    card = page.get_by_role("link", name="small")
    expect(card).to_be_visible(timeout=60_000)
    card.click()
    expect(page.get_by_text("Pareto", exact=False).first).to_be_visible(timeout=60_000)
    screenshot(page, "dashboard")


def test_a_wrong_study_file_is_told_as_it_is_typed(page):
    page.goto("/launch")
    page.get_by_label("A text").check()
    page.locator("#text").fill("name = 3")
    expect(page.locator("#problems")).to_contain_text("name")
    expect(page.locator("#launch")).to_be_disabled()


def test_knee_and_slider_choose_what_the_command_line_chooses(page, small):
    page.goto("/studies/small")
    knee = small.get("/studies/small/selection", params={"rule": "knee"})
    expect(page.locator("#choice-trial")).to_have_text(f"Trial {knee['trial']}")
    expect(page.locator("#choice-sentence")).to_have_text(knee["reason"])
    page.locator("#rule-constraint").check()
    slider = page.locator("#constraint-slider")
    slider.evaluate(
        "one => { one.value = one.max; one.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    bound = page.locator("#constraint-value")
    expect(page.locator("#export-command")).to_contain_text("rmse<=")
    rule = f"rmse<={float(bound.input_value()):g}"
    found = small.get("/studies/small/selection", params={"rule": rule})
    expect(page.locator("#choice-trial")).to_have_text(f"Trial {found['trial']}")
    page.locator("#rule-utility").check()
    expect(page.locator("#export-command")).to_contain_text("utility:")


def test_the_exported_weights_are_the_command_lines(page, small):
    page.goto("/studies/small")
    expect(page.locator("#choice-trial")).to_contain_text("Trial")
    with page.expect_download(timeout=60_000) as download:
        page.locator("#export-weights").click()
    there = json.loads(Path(download.value.path()).read_text())
    output = small.folder / "own.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "sweep.cli", "export", "small", "--pick", "knee"),
            *("--output", str(output), "--storage", small.storage),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    own = json.loads(output.read_text())
    assert {**there, "created": None} == {**own, "created": None}


def test_a_study_is_archived_and_brought_back(page, small):
    page.goto("/studies/small")
    page.locator("#archive").click()
    page.locator("#restore").click()
    expect(page.locator("#archive")).to_be_visible()
    assert small.get("/studies/small")["archived"] is None


def test_a_trial_is_opened_by_keyboard_from_the_table(page, small):
    page.goto("/studies/small")
    button = page.locator("#trials").get_by_role("button", name="Show").first
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#trial")).to_be_visible()
    assert small.get("/studies/small")["done"] == 6


@pytest.mark.parametrize(
    "path", ["/", "/studies/small", "/launch", "/compare?study=small&study=other"]
)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
@pytest.mark.usefixtures("small")
def test_pages_have_no_serious_accessibility_problem_and_fit(browser, service, path, scheme, width):
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, base_url=service.url
    )
    page = context.new_page()
    page.goto(path)
    page.wait_for_load_state("load")
    page.wait_for_timeout(1500)
    screenshot(
        page, f"{path.strip('/').replace('/', '-').split('?')[0] or 'list'}-{scheme}-{width}"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    context.close()
