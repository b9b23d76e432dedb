"""Prompts: instruction, options, placeholders; and that TRL and chat templates take them."""

import json
from pathlib import Path

import jinja2
import pytest
from datasets import Dataset
from PIL import Image
from transformers import AutoProcessor
from trl.data_utils import prepare_multimodal_messages

from srpo.prompts import PromptError, build_prompt, close_block, instruction, opened_block, task_hint
from srpo.roles import ResponseFormat

SHARED_DATA = Path(__file__).parents[2] / "../shared/data"
IMAGE = {"type": "image"}


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def user_content(question: str, n_images: int, **settings: object) -> object:
    return build_prompt(question, n_images, **{"style": "none", **settings})[-1]["content"]


def test_the_instruction_names_the_tags_in_order() -> None:
    lines = instruction(ResponseFormat(perception="look", reasoning="reason", answer="final")).splitlines()
    assert [line.split(" ")[0] for line in lines[1:]] == ["<look>", "<reason>", "<final>"]
    assert [line.split(" ")[-1] for line in lines[1:]] == ["</look>", "</reason>", "</final>"]
    assert "<perception>" in instruction()


def test_where_the_instruction_goes() -> None:
    system = build_prompt("How many?", 1)
    assert system == [{"role": "system", "content": instruction()}, {"role": "user", "content": "How many?"}]
    user = build_prompt("How many?", 1, style="user")
    assert user == [{"role": "user", "content": f"How many?\n\n{instruction()}"}]
    assert build_prompt("How many?", 1, style="none") == [{"role": "user", "content": "How many?"}]


def test_options_follow_the_question_as_lettered_lines() -> None:
    assert user_content("Which?", 1, options=["red", 12, 0.5]) == "Which?\nA. red\nB. 12\nC. 0.5"
    assert user_content("Which?", 1, options=[]) == "Which?"
    both = build_prompt("Which?", 1, options=["x"], style="user")[0]["content"]
    assert both == f"Which?\nA. x\n\n{instruction()}"


@pytest.mark.parametrize(
    ("question", "n_images", "content"),
    [
        ("<image>", 1, [IMAGE]),
        ("<image>\nHow many?", 1, [IMAGE, text("\nHow many?")]),
        ("How many? <image>", 1, [text("How many? "), IMAGE]),
        ("<image><image> Same?", 2, [IMAGE, IMAGE, text(" Same?")]),
        ("a <image1> b <image2> c", 2, [text("a "), IMAGE, text(" b "), IMAGE, text(" c")]),
        ("a <image1> b <image1> c", 1, [text("a "), IMAGE, text(" b image 1 c")]),
        ("<image2> is like <image1>, not <image2>", 2, None),
        ("a <image1> b <image3>", 1, "a image 1 b image 3"),
        ("a <image2>", 1, [text("a "), IMAGE]),
        ("How many?", 0, "How many?"),
        ("How many?", 3, "How many?"),
    ],
)
def test_placeholders(question: str, n_images: int, content: object) -> None:
    if content is None:
        with pytest.raises(PromptError, match=r"names <image2> before <image1>; number the images in the order"):
            user_content(question, n_images)
    else:
        assert user_content(question, n_images) == content


def test_options_that_are_their_own_letters_share_a_line() -> None:
    assert user_content("Which?", 0, options=["A", "B", "C"]) == "Which?\nOptions: A, B, C"
    assert user_content("Which?", 0, options=["B", "A"]) == "Which?\nA. B\nB. A"


def test_hint_stands_between_options_and_instruction() -> None:
    (message,) = build_prompt("<image> Which?", 1, options=["x"], style="user", hint="Be short.")
    assert message["content"] == [IMAGE, text(f" Which?\nA. x\nBe short.\n\n{instruction()}")]
    assert user_content("How many?", 0, hint="") == "How many?"
    assert task_hint("choice") == "The answer is the letter of the right option."
    assert "[x1, y1, x2, y2]" in task_hint("box:0.7")
    assert task_hint("math") == task_hint("text") == ""


def test_options_and_instruction_join_the_last_text() -> None:
    assert user_content("<image>", 1, options=["x"]) == [IMAGE, text("\nA. x")]
    assert user_content("<image> Which?", 1, options=["<image2>"]) == [IMAGE, text(" Which?\nA. image 2")]
    system, user = build_prompt("<image> Which?", 1)
    assert system["content"] == [text(instruction())]
    assert user["content"] == [IMAGE, text(" Which?")]


def test_structured_on_demand() -> None:
    assert user_content("How many?", 2, structured=True) == [IMAGE, IMAGE, text("How many?")]
    assert user_content("How many?", 0, structured=True) == [text("How many?")]
    assert build_prompt("How many?", 1, structured=True)[0]["content"] == [text(instruction())]


@pytest.mark.parametrize(
    ("question", "n_images", "settings", "problem"),
    [
        (
            "<image> a",
            2,
            {},
            "it has 2 images but its question has 1 <image> placeholder; add a placeholder or drop an image",
        ),
        (
            "<image> <image>",
            1,
            {},
            "it has 1 image but its question has 2 <image> placeholders; drop a placeholder or add an image",
        ),
        ("<image> a", 0, {}, "it has 0 images but its question has 1 <image> placeholder; drop a placeholder"),
        ("<image1> a", 0, {}, "it has 0 images but its question names <image1>; name each image once, or none of"),
        ("<image1> a", 2, {}, "it has 2 images but its question names <image1>; name each image"),
        ("<image1> <image10>", 2, {}, "it has 2 images but its question names <image1>, <image10>; name each"),
        ("<image> <image1>", 2, {}, "the question mixes <image> with numbered placeholders"),
        (" ", 1, {}, "the question is empty; fill it in or drop the row"),
        ("a", 1, {"options": range(27)}, "it has 27 options, and at most 26 have letters"),
        ("a", 1, {"style": "loud"}, "prompt style 'loud' must be one of system, user, none"),
    ],
)
def test_bad_rows_say_what_to_do(question: str, n_images: int, settings: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        build_prompt(question, n_images, **settings)


QWEN_STYLE_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}:{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}[IMAGE]"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}|{% endfor %}"
)


@pytest.mark.parametrize("structured", [False, True])
def test_prompts_survive_arrow_trl_and_a_chat_template(structured: bool) -> None:
    questions = [("How many?", 1), ("Why?", 2)] if not structured else [("a <image> b", 1), ("How many?", 2)]
    prompts = [build_prompt(question, count, structured=structured, options=["x"]) for question, count in questions]
    stored = Dataset.from_list([{"prompt": prompt} for prompt in prompts])
    rendered = []
    for row, (_, count) in zip(stored, questions, strict=True):
        messages = prepare_multimodal_messages(row["prompt"], [Image.new("RGB", (4, 4))] * count)
        assert sum("image" in part for message in messages for part in message["content"]) == count
        rendered.append(jinja2.Template(QWEN_STYLE_TEMPLATE).render(messages=messages).split("|user:")[1])
    if structured:
        assert rendered == ["a [IMAGE] b\nA. x|", "[IMAGE][IMAGE]How many?\nA. x|"]
    else:
        assert rendered == ["[IMAGE]How many?\nA. x|", "[IMAGE][IMAGE]Why?\nA. x|"]


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="../shared/data is missing")
def test_every_math_vision_row_has_one_image_and_no_placeholder_left() -> None:
    lines = (SHARED_DATA / "mathv" / "testmini.jsonl").read_text().splitlines()
    assert len(lines) == 304
    for row in map(json.loads, lines):
        prompt = build_prompt(row["question"], 1, options=row["options"], structured=True)
        assert sum(part == IMAGE for part in prompt[1]["content"]) == 1
        assert "<image" not in json.dumps(prompt)


@pytest.mark.parametrize("layout", ["qwen2_5_vl", "smolvlm"])
def test_a_block_that_the_template_opens_can_be_closed(layout: str, layout_folders: dict) -> None:
    processor = AutoProcessor.from_pretrained(layout_folders[layout])
    assert opened_block(processor) is None
    processor.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    assert opened_block(processor) == "think"
    prompt = build_prompt("Why?", 0, structured=True)
    opened = processor.apply_chat_template(prompt, add_generation_prompt=True)
    finished = processor.apply_chat_template(prompt)
    close_block(processor, "think")
    assert opened_block(processor) is None
    closed = processor.apply_chat_template(prompt, add_generation_prompt=True)
    assert closed == f"{opened.rstrip()}\n\n</think>\n\n"
    assert processor.apply_chat_template(prompt) == finished
