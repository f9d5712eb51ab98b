import re

import httpx
from playwright.sync_api import expect


def test_a_key_is_shown_once_works_and_is_revoked(open_page, site):
    page = open_page("/settings")
    page.get_by_label("Name of a new key").fill("ci")
    page.get_by_role("button", name="Make a key").click()
    shown = page.get_by_role("status").filter(has_text="cannot be shown again")
    key = shown.locator("code").inner_text()
    bearer = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{site.base_url}/files", headers=bearer).status_code == 200
    again = open_page("/settings")
    again.get_by_role("cell", name="ci", exact=True).wait_for()
    assert key not in again.content()

    page.get_by_role("button", name="Revoke ci").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    page.get_by_role("row").filter(has_text="ci").get_by_text("revoked").wait_for()
    assert httpx.get(f"{site.base_url}/files", headers=bearer).status_code == 401


def test_no_key_is_kept_in_the_browser(open_page, site):
    page = open_page("/settings")
    stored = page.evaluate("JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie")
    assert "fk_" not in stored
    # Nor can a script read the session.
    assert "fettle_session" not in stored


def test_an_invited_member_signs_in_with_the_link_and_may_not_invite(open_page, site):
    page = open_page("/settings?tab=members")
    page.get_by_label("Email of a new member").fill("ann@example.com")
    page.get_by_role("button", name="Add").click()
    link = page.get_by_role("status").filter(has_text="Pass this link").locator("code").inner_text()
    theirs = open_page(link, session=False)
    theirs.get_by_role("heading", name="Overview").wait_for()
    theirs.goto("/settings?tab=members")
    theirs.get_by_text("ann@example.com (you)").wait_for()
    assert theirs.get_by_role("button", name="Add").count() == 0

    theirs.goto("/settings?tab=you")
    theirs.locator("input[autocomplete=new-password]").fill("12345678")
    theirs.get_by_role("button", name="Set the password").click()
    theirs.get_by_text("too common").wait_for()
    theirs.locator("input[autocomplete=new-password]").fill("wisteria-44-lanterns")
    theirs.get_by_role("button", name="Set the password").click()
    theirs.get_by_text("The password is set.").wait_for()
    elsewhere = open_page("/sign-in", session=False)
    elsewhere.get_by_label("Email").fill("ann@example.com")
    elsewhere.locator("input[type=password]").fill("wisteria-44-lanterns")
    elsewhere.get_by_role("button", name="Sign in").click()
    elsewhere.get_by_role("heading", name="Overview").wait_for()


def test_a_webhook_is_made_tested_disabled_and_deleted(open_page):
    page = open_page("/settings?tab=webhooks")
    page.get_by_label("Name of a new webhook").fill("pager")
    page.get_by_label("Address").fill("https://nobody.invalid/hook")
    page.get_by_label("A job failed").check()
    page.get_by_role("button", name="Add the webhook").click()
    secret = page.get_by_role("status").filter(has_text="cannot be shown again").locator("code").inner_text()
    assert secret.startswith("whsec_")
    row = page.get_by_role("row").filter(has_text="pager")
    row.get_by_role("button", name="Test pager").click()
    row.get_by_role("status").filter(has_text="nobody.invalid").wait_for()
    row.get_by_role("button", name="Deliveries of pager").click()
    page.get_by_text("Nothing was sent yet.").wait_for()
    row.get_by_role("button", name="Disable pager").click()
    row.get_by_text("disabled", exact=True).wait_for()
    row.get_by_role("button", name="Enable pager").click()
    row.get_by_text("on", exact=True).wait_for()
    assert secret not in open_page("/settings?tab=webhooks").content()
    row.get_by_role("button", name="Delete pager").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("No webhook yet.").wait_for()


def test_the_chosen_colours_stay_and_are_there_before_the_first_paint(open_page):
    page = open_page("/settings?tab=appearance", scheme="light")
    page.get_by_text("Dark", exact=True).click()
    assert page.locator("html").get_attribute("data-mantine-color-scheme") == "dark"
    page.route("**/*.js", lambda route: route.continue_() if "theme.js" in route.request.url else route.abort())
    page.reload(wait_until="domcontentloaded")
    assert page.locator("html").get_attribute("data-mantine-color-scheme") == "dark"


def test_a_new_project_begins_empty_and_the_example_is_one_click_away(open_page):
    page = open_page("/datasets")
    page.get_by_role("button", name="Project default").click()
    page.get_by_role("menuitem", name="New project…").click()
    page.get_by_role("dialog").get_by_label("Name").fill("apart")
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("button", name="Project apart").wait_for()
    page.get_by_role("heading", name="Overview").wait_for()
    page.get_by_role("button", name="Load the example").click()
    page.get_by_role("link", name="a job with it").click()
    expect(page.get_by_role("combobox", name="Rows to train on")).to_have_value(re.compile("example-train.jsonl"))
    expect(page.get_by_role("combobox", name="Stored grader")).to_have_value(re.compile("exact answer"))
    page.get_by_role("button", name="Project apart").click()
    page.get_by_role("menuitem", name="default").click()
    page.get_by_role("button", name="Project default").wait_for()
    assert page.problems == []
