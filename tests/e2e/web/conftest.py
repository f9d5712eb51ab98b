"""The page in a real browser: headless Chromium against a real server with the bundled model."""

import os
import shutil
import subprocess
from pathlib import Path

import openai
import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parents[3]
AXE = ROOT / "frontend/node_modules/axe-core/axe.min.js"
# A machine that does other work too is slow at times. What is right comes at once; only what is wrong waits this long.
WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)
NAMES = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def browser():
    executable = next(filter(None, map(shutil.which, NAMES)), None) or install_chromium()
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield started
        started.close()


def install_chromium():
    """From Debian's packages, where that is possible; otherwise say what to do, and fail rather than skip."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], check=True, timeout=300)
        subprocess.run(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"], check=True, timeout=900
        )
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"these tests need a browser: install the package chromium (one of {', '.join(NAMES)} on the PATH)"
    return found


@pytest.fixture(scope="session")
def signed_in(browser, site):
    """The cookies of a browser that opened the address which `fettle up` printed.

    The model server starts beside the API; pages that ask it are looked at once it answers.
    """
    models = openai.OpenAI(base_url=site.base_url, api_key=site.api_key, max_retries=30)
    models.chat.completions.create(model="fettle-tiny", messages=[{"role": "user", "content": "1"}], max_tokens=1)
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.sign_in_address)
    page.get_by_role("heading", name="Overview").wait_for(timeout=WAIT_MS)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_page(browser, site, signed_in):
    """`open_page("/jobs", scheme="dark", width=390)` gives a page that has settled.

    `page.problems` collects what the browser's console complains about. With `bypass_csp` axe can be injected.
    """
    contexts = []

    def open_page(path="/", *, scheme="light", width=1440, bypass_csp=False, session=True):
        context = browser.new_context(
            base_url=site.url,
            storage_state=signed_in if session else None,
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            bypass_csp=bypass_csp,
        )
        contexts.append(context)
        page = context.new_page()
        open_page.pages.append(page)
        page.set_default_timeout(WAIT_MS)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda line: page.problems.append(line.text) if line.type in ("error", "warning") else None)
        page.goto(path)
        page.locator("h1").first.wait_for()
        settle(page)
        return page

    open_page.pages = []
    yield open_page
    for context in contexts:
        context.close()


def settle(page):
    """Until nothing is loading any more."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=WAIT_MS)


@pytest.fixture
def axe_violations():
    def check(page):
        page.add_script_tag(path=str(AXE))
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [
            f"{violation['id']}: {node['html'][:200]} -- {node['failureSummary'][:300]}"
            for violation in found
            for node in violation["nodes"]
        ]

    return check
