from pathlib import Path

from playwright.sync_api import expect

EXAMPLE = Path(__file__).parents[3] / "examples/demo/train.jsonl"


def test_a_model_answers_token_by_token_with_the_session_alone(open_page):
    page = open_page("/playground")
    page.get_by_label("Prompt").fill("Find the maximum of 41, 79, 74.")
    page.get_by_role("button", name="Ask").click()
    pane = page.get_by_role("region", name="Answer of fettle-tiny")
    pane.get_by_text("tokens in").wait_for()
    assert pane.inner_text().strip()

    page.get_by_label("Answers", exact=True).fill("3")
    page.get_by_label("Temperature").fill("1")
    page.get_by_role("button", name="Ask").click()
    expect(pane).to_contain_text("The answer that most give")
    pane.get_by_role("button", name="All 3 answers").click()
    expect(pane.get_by_role("listitem")).to_have_count(3)
    page.wait_for_url("**answers=3*")
    again = open_page(page.url.split(page.evaluate("location.origin"))[1])
    expect(again.get_by_label("Prompt")).to_have_value("Find the maximum of 41, 79, 74.")
    for label, value in (("Answers", "3"), ("Temperature", "1")):
        expect(again.get_by_label(label, exact=True)).to_have_value(value)
    assert page.problems == []


def test_two_panes_are_in_the_address_and_ask_the_same_row(open_page):
    page = open_page("/datasets")
    page.locator("input[type=file]").set_input_files(EXAMPLE)
    page.get_by_role("link", name="Look at its rows").click()
    page.get_by_role("table", name="Rows").wait_for()
    file_id = page.url.rsplit("/", 1)[1]
    page = open_page(f"/playground?file={file_id}&line=4&models=%5B%22fettle-tiny%22%2C%22fettle-tiny%22%5D")
    expect(page.get_by_label("Prompt")).to_have_value("Find the maximum of 29, 59, 16, 76.")
    page.get_by_role("button", name="Ask").click()
    panes = page.get_by_role("region", name="Answer of fettle-tiny")
    for index in (0, 1):
        panes.nth(index).get_by_text("tokens in").wait_for()
    # At temperature 0 the same model says the same.
    assert panes.nth(0).locator("[aria-live]").inner_text() == panes.nth(1).locator("[aria-live]").inner_text()


def test_a_refusal_of_the_server_is_said_in_the_pane(open_page):
    page = open_page("/playground?models=%5B%22ft:nobody%22%5D")
    page.get_by_label("Prompt").fill("hello")
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("region", name="Answer of ft:nobody").get_by_role("alert").get_by_text("ft:nobody").wait_for()
