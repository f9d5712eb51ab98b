import subprocess
import sys
from pathlib import Path

FETTLE = Path(sys.executable).with_name("fettle")


def test_a_page_behind_the_sign_in_leads_there_and_back(open_page, site):
    page = open_page("/?from=here", session=False)
    page.get_by_role("heading", name="Sign in to Fettle").wait_for()
    page.get_by_label("Email").fill("owner@localhost")
    page.get_by_label("Password", exact=True).fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    assert "No person with this email address" in page.get_by_role("alert").inner_text()

    link = subprocess.run(
        [FETTLE, "sign-in", "--url", site.url, "--data-dir", site.data_dir],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout.strip()  # fmt: skip
    page.goto(link)
    page.get_by_role("heading", name="Overview").wait_for()
    assert "#" not in page.url
    used = open_page(link, session=False)
    assert "used before" in used.get_by_role("alert").inner_text()


def test_signing_out_closes_the_page(open_page, site):
    link = subprocess.run(
        [FETTLE, "sign-in", "--url", site.url, "--data-dir", site.data_dir],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout.strip()  # fmt: skip
    page = open_page(link, session=False)
    page.get_by_role("heading", name="Overview").wait_for()
    page.get_by_role("button", name="Account of Owner").click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.get_by_role("heading", name="Sign in to Fettle").wait_for()
    page.goto("/")
    page.get_by_role("heading", name="Sign in to Fettle").wait_for()
