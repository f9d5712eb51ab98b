from pathlib import Path

import openai
import pytest
from playwright.sync_api import expect

EXAMPLE = Path(__file__).parents[3] / "examples/demo/train.jsonl"


@pytest.fixture(scope="module")
def uploaded(site):
    client = openai.OpenAI(base_url=site.base_url, api_key=site.api_key)
    return client.files.create(file=EXAMPLE.open("rb"), purpose="fine-tune").id


def choose_dataset(page):
    page.get_by_role("combobox", name="Dataset").click()
    page.get_by_role("option", name="train.jsonl").first.click()


def test_a_grader_is_built_by_form_and_json_tried_and_kept_in_versions(open_page):
    page = open_page("/graders/new")
    page.get_by_label("The answer to grade").fill("4 ")
    page.get_by_role("button", name="Grade", exact=True).click()
    # Character by character: a blank too many is another text.
    page.get_by_role("status").get_by_text("0", exact=True).wait_for()

    page.get_by_role("tab", name="JSON").click()
    editor = page.get_by_role("textbox", name="Definition as JSON")
    editor.wait_for()
    editor.fill('{"type": "string_check", "input": "{{sample.output_text}}", "operation": "like", "reference": "4"}')
    page.get_by_role("tab", name="Form").click()
    expect(page.get_by_role("combobox", name="Must")).to_have_value("like: contain it")
    page.get_by_role("button", name="Grade", exact=True).click()
    page.get_by_role("status").get_by_text("1", exact=True).wait_for()

    page.get_by_label("Name", exact=True).fill("holds a four")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="holds a four").wait_for()
    page.get_by_label("Compared with").fill("5")
    page.get_by_label("Note").fill("five is better")
    page.get_by_role("button", name="Save as version 2").click()
    page.get_by_role("tab", name="Versions").click()
    page.get_by_role("cell", name="five is better", exact=True).wait_for()
    page.get_by_text("reference", exact=True).wait_for()
    assert page.problems == []


def test_a_definition_that_cannot_work_is_refused_with_the_field(open_page):
    page = open_page("/graders/new")
    page.get_by_label("Compared with").fill("{{item.answer")
    page.get_by_role("button", name="Grade", exact=True).click()
    page.get_by_role("alert").get_by_text("grader.reference").wait_for()


def test_many_rows_show_the_spread_and_that_right_answers_score_at_the_top(open_page, uploaded, axe_violations):
    page = open_page("/graders/new?tab=batch")
    choose_dataset(page)
    page.get_by_text("The right answers", exact=True).click()
    page.get_by_role("button", name="Grade 20 rows").click()
    page.get_by_text("All 20 right answers score at the top.").wait_for()
    assert page.get_by_role("img", name="Scores. 0.95 to 1: 20").count() == 1

    # The dataset is in the address, every part of the page knows it, and its columns are offered where one writes.
    again = open_page(page.url.removeprefix(page.evaluate("location.origin")), bypass_csp=True)
    again.get_by_role("tab", name="One answer").click()
    again.get_by_text("Find the maximum of 41, 79, 74, 90, 54.").wait_for()
    reference = again.get_by_role("textbox", name="Compared with")
    reference.fill("{{item.answr}}")
    again.get_by_text("The chosen dataset has no column answr. It has messages, answer, family.").wait_for()
    expect(reference.get_by_title("No row has this").first).to_be_visible()
    reference.fill("")
    reference.press_sequentially("{{it")
    expect(again.get_by_role("option", name="item.answer")).to_have_attribute("aria-selected", "true")
    assert axe_violations(again) == []
    again.keyboard.press("Enter")
    expect(reference).to_have_text("{{item.answer}}")


def test_cheats_that_pay_are_named(open_page, uploaded):
    page = open_page("/graders/new?tab=red-team")
    page.get_by_role("combobox", name="Must").click()
    page.get_by_role("option", name="like: contain it", exact=True).click()
    choose_dataset(page)
    page.get_by_role("button", name="Try to cheat it").click()
    page.get_by_text("Hackable by").wait_for()
    page.get_by_role("row", name="keyword_salad").wait_for()


def test_a_grader_is_compared_with_what_people_gave(open_page):
    page = open_page("/graders/new?tab=calibrate")
    ratings = "answer,text,label\n" + "".join(f"{n},{n if n % 2 else 0},{n % 2}\n" for n in range(1, 11))
    page.get_by_label("Ratings", exact=True).fill(f"{ratings}7,8,\n")
    page.get_by_text("Line 12 has no label").wait_for()
    page.get_by_role("button", name="Compare with people").click()
    page.get_by_text("It ranks answers as people do.").wait_for()
    row = page.get_by_role("table", name="Beside the ratings of 10 answers").get_by_role("row", name="Agreement")
    expect(row.get_by_role("cell").first).to_have_text("1")
    assert page.problems == []
