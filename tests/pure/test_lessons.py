"""The lessons: the same dice give the same items, and every answer is right."""

from __future__ import annotations

import ast
import importlib.resources
import json
import operator
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from arbiter.demo import lessons

CASES_SEED = 222
DRAWN = 150
EVERY_SHAPE = [(task, shape) for task in lessons.TASKS for shape in lessons.SHAPES[task]]


def drawn(
    task: str,
    *,
    seed: int = 1,
    count: int = DRAWN,
    shape: str | None = None,
    split: lessons.Split = "train",
) -> tuple[lessons.Item, ...]:
    dice = random.Random(seed)
    return tuple(lessons.draw(task, dice, shape=shape, split=split) for _ in range(count))


@pytest.mark.parametrize(("task", "shape"), EVERY_SHAPE)
def test_the_same_dice_give_the_same_items(task: str, shape: str) -> None:
    assert drawn(task, shape=shape) == drawn(task, shape=shape)
    assert drawn(task, shape=shape) != drawn(task, shape=shape, seed=2)


@pytest.mark.parametrize(("task", "shape"), EVERY_SHAPE)
def test_an_item_says_what_it_is(task: str, shape: str) -> None:
    for item in drawn(task, shape=shape):
        assert (item.task, item.shape) == (task, shape)
        assert item.expected == item.expected.strip() != ""
        assert len(item.prompt) < (110 if shape == "form" else 90)


@pytest.mark.parametrize("task", lessons.TASKS)
def test_shapes_come_up_by_their_weight(task: str) -> None:
    come_up = {item.shape for item in drawn(task)}
    assert come_up == {shape for shape, weight in lessons.SHAPE_WEIGHTS[task].items() if weight}


@pytest.mark.parametrize("task", lessons.TASKS)
def test_what_is_held_out_never_comes_up_in_training(task: str) -> None:
    train = {lessons.subject_of(task, item.prompt) for item in drawn(task, count=2000)}
    held_out = {
        lessons.subject_of(task, item.prompt) for item in drawn(task, count=500, split="held_out")
    }
    assert not train & held_out


@pytest.mark.parametrize(
    ("task", "one", "other"),
    [
        ("sum", "12 + 30 =", "What is 12 plus 30?"),
        ("reverse", "Reverse: tim", "Spell backwards: tim"),
        ("topic", "Ticket: the app crashes", "Route this: the app crashes"),
        ("sentiment", "Review: the bag is weak", "Sentiment: the bag is weak"),
    ],
)
def test_the_split_looks_past_the_asking_words(task: str, one: str, other: str) -> None:
    assert lessons.subject_of(task, one) == lessons.subject_of(task, other)
    assert lessons.split_of(task, one) == lessons.split_of(task, other)


def test_about_one_subject_in_ten_is_held_out() -> None:
    splits = [lessons.split_of("sum", f"{a} + {b} =") for a in range(100) for b in range(100)]
    assert 0.09 < splits.count("held_out") / len(splits) < 0.11


@pytest.mark.parametrize("task", lessons.TASKS)
def test_many_items_have_different_prompts(task: str) -> None:
    items = lessons.draw_many(task, random.Random(3), 200, split="held_out")
    assert len({item.prompt for item in items}) == len(items) == 200


def test_a_task_with_too_few_prompts_gives_what_it_has() -> None:
    items = lessons.draw_many("code", random.Random(3), 10_000, shape="linear", attempts_each=1)
    assert 0 < len({item.prompt for item in items}) == len(items) < 10_000


def test_an_unknown_task_or_shape_is_refused() -> None:
    with pytest.raises(KeyError):
        lessons.draw("chess", random.Random(1))
    with pytest.raises(KeyError):
        lessons.draw("sum", random.Random(1), shape="form")


def test_moods_follow_from_the_words() -> None:
    for item in drawn("sentiment", shape="plain") + drawn("sentiment", shape="intense"):
        assert item.expected == mood_of(item.prompt)
    for item in drawn("sentiment", shape="negated"):
        opposite = {"positive": "negative", "negative": "positive"}
        assert item.expected == opposite[mood_of(item.prompt)]
    for item in drawn("sentiment", shape="contrast"):
        assert item.expected == mood_of(item.prompt.partition(" but ")[2])


def mood_of(text: str) -> str:
    words = re.findall(r"[\w-]+", text.partition(": ")[2] or text)
    good = {*lessons._GOOD, *lessons._LIKED, "like", "love", "enjoy"}
    bad = {*lessons._BAD, *lessons._LOATHED, "hate", "mind"}
    found = {"positive" for word in words if word in good}
    found |= {"negative" for word in words if word in bad}
    assert len(found) <= 1
    return found.pop() if found else "neutral"


def test_topics_follow_from_the_trouble() -> None:
    for item in drawn("topic"):
        trouble = item.prompt.partition(": ")[2].rpartition(" but ")[2]
        owners = [
            topic
            for topic, (things, ends) in lessons._COMPLAINTS.items()
            if any(thing in trouble for thing in things) and trouble.endswith(ends)
        ]
        assert owners == [item.expected]


def test_sums_are_right() -> None:
    for shape in lessons.SHAPES["sum"]:
        for item in drawn("sum", shape=shape):
            a, b = (int(number) for number in re.findall(r"\d+", item.prompt))
            assert 0 <= a <= 99
            assert 0 <= b <= 99
            assert item.expected == str(a + b)
            assert (a + b >= 100) == (shape == "hundred")
            assert shape == "hundred" or (a % 10 + b % 10 >= 10) == (shape == "carry")


def test_words_are_reversed() -> None:
    for length in range(3, 9):
        for item in drawn("reverse", shape=f"letters-{length}"):
            word = item.prompt.rpartition(": ")[2]
            assert len(word) == length
            assert item.expected == "".join(reversed(word))


@pytest.mark.parametrize("shape", lessons.SHAPES["extract"])
def test_extracts_are_compact_json_of_what_the_text_says(shape: str) -> None:
    for item in drawn("extract", shape=shape):
        found = json.loads(item.expected)
        assert list(found) == ["name", "city", "age"]
        assert item.expected == json.dumps(found, separators=(",", ":"))
        assert found["name"] in item.prompt
        assert found["city"] in item.prompt
        assert re.findall(r"\d+", item.prompt) == [str(found["age"])]


def test_a_form_names_its_fields_in_varying_order() -> None:
    first = {item.prompt.split(": ")[1] for item in drawn("extract", shape="form")}
    assert first == {"Name", "City", "Age"}


@pytest.mark.parametrize("shape", lessons.SHAPES["code"])
def test_code_returns_what_is_said(shape: str) -> None:
    for item in drawn("code", shape=shape):
        assert item.expected == str(returned(item.prompt))


ARITHMETIC: Mapping[type[ast.AST], Callable[[Any, Any], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
}


def returned(prompt: str) -> object:
    """Work out what the call returns by reading the function, never by running it."""
    definition, call = (ast.parse(line.rstrip("?")).body[0] for line in prompt.splitlines())
    assert isinstance(definition, ast.FunctionDef)
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    result = definition.body[0]
    assert isinstance(result, ast.Return)
    assert result.value is not None
    return value_of(result.value, {definition.args.args[0].arg: value_of(call.value.args[0], {})})


def value_of(node: ast.expr, names: Mapping[str, object]) -> object:
    match node:
        case ast.Constant(value=value):
            result: object = value
        case ast.Name(id=name):
            result = names[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
            result = -number
        case (
            ast.BinOp(left=left, op=op, right=right)
            | ast.Compare(left=left, ops=[op], comparators=[right])
        ):
            result = ARITHMETIC[type(op)](value_of(left, names), value_of(right, names))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            result = value_of(body if value_of(test, names) else orelse, names)
        case _:
            result = text_value_of(node, names)
    return result


def text_value_of(node: ast.expr, names: Mapping[str, object]) -> object:
    match node:
        case ast.Subscript(value=value, slice=place):
            return str(value_of(value, names))[int(str(value_of(place, names)))]
        case ast.Call(func=ast.Name(id="len"), args=[argument]):
            return len(str(value_of(argument, names)))
        case ast.Call(func=ast.Attribute(value=value, attr="upper")):
            return str(value_of(value, names)).upper()
        case ast.Call(func=ast.Attribute(value=value, attr="title")):
            return str(value_of(value, names)).title()
    raise AssertionError(ast.dump(node))


@pytest.mark.parametrize("task", lessons.TASKS)
def test_the_stored_cases_are_held_out_and_what_the_generator_writes(task: str) -> None:
    folder = importlib.resources.files("arbiter.demo") / "cases"
    stored = (folder / f"{task}.jsonl").read_text(encoding="utf-8")
    items = lessons.stored_cases(task, random.Random(f"cases/{CASES_SEED}/{task}"))
    assert stored == "".join(map(lessons.case_line, items))
    prompts = [json.loads(line)["prompt"] for line in stored.splitlines()]
    assert len(set(prompts)) == lessons.CASES_EACH
    assert {lessons.split_of(task, prompt) for prompt in prompts} == {"held_out"}
    assert all(item.shape != "form" for item in items)
