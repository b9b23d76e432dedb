"""Scripted models for the audit: plain functions from a request to a reply, whose figures are known beforehand."""

from PIL import Image

from srpo.data import world
from srpo.data.schema import DataError
from srpo.evaluation.audit.blocks import perception_of_prefix
from srpo.evaluation.run import Options, evaluate
from srpo.evaluation.sampling import Reply
from srpo.evaluation.store import ReplyStore
from srpo.prompts import build_prompt
from srpo.roles import ResponseFormat

FORMAT = ResponseFormat()


def blocks(perception, answer, tags=FORMAT, prefix=None):
    """A structured reply; after a prefix, what comes behind its perception block."""
    (open_p, close_p), (open_t, close_t), (open_a, close_a) = map(tags.block, ("perception", "reasoning", "answer"))
    start = f"{open_p} {perception} {close_p}" if prefix is None else prefix
    return f"{start}{open_t} so {close_t}{open_a} {answer} {close_a}"


def world_rows(rows=12, split="test", **options):
    """Rows of the built-in world with their prompts."""
    drawn = world.generate(split, rows=rows, **options)
    return [row | {"prompt": build_prompt(row["question"], 1, structured=True)} for row in drawn]


def number_rows(count=6, question="Which number?", **columns):
    """Rows without truth: image i shows the number i, which is the answer."""
    return [
        {
            "id": f"number-{i}",
            "images": [Image.new("RGB", (8, 8), (10 * i + 5, 0, 0))],
            "question": question,
            "options": [],
            "answer": str(i),
            "task": "math",
            "prompt": build_prompt(question, 1, structured=True),
            **columns,
        }
        for i in range(count)
    ]


class Scripted:
    """A sampler that gives the scripted text for each request; counts what it is asked."""

    def __init__(self, rows, tags=FORMAT):
        self.rows, self.tags, self.asked = rows, tags, []
        self.by_image = {row["images"][0].tobytes(): row for row in rows if row["images"]}
        self.by_question = {row["question"]: row for row in rows}

    def __call__(self, requests, seed):
        self.asked += requests
        return [Reply(self.reply(request), True, 3, [1, 2, 3]) for request in requests]

    def question(self, request):
        """The row of the question that is asked; on the built-in world any row with the same question will do."""
        content = request.messages[-1]["content"]
        return self.by_question["".join(part.get("text") or "" for part in content if part["type"] == "text")]

    def seen(self, request):
        """(perception, answer to the question asked) in the image as it is shown; nothing in one it does not know."""
        shown = self.by_image.get(request.images[0].tobytes()) if request.images else None
        if shown is None:
            return "nothing", "none"
        if not shown.get("truth"):
            return shown["answer"], shown["answer"]
        return shown["perception"], self.derive(request, world.read_truth(shown["truth"])["facts"])

    def derive(self, request, facts):
        """The answer to the question asked that follows from facts."""
        try:
            return world.recompute(self.question(request)["truth"], facts or []).answer
        except DataError:
            return "none"

    def stated(self, request):
        """The answer that follows from the perception in the prefix."""
        perception = perception_of_prefix(request.prefix, self.tags)
        truth = self.question(request).get("truth")
        if not truth:
            return perception
        return self.derive(request, world.FAMILIES[world.read_truth(truth)["family"]].parse_facts(perception))


class ImageReader(Scripted):
    """Reads the image, states what it sees, and answers from the image whatever its perception says."""

    def reply(self, request):
        perception, answer = self.seen(request)
        return blocks(perception, answer, self.tags, request.prefix or None)


class PerceptionReader(Scripted):
    """Reads the image to write its perception, and answers from what is written there."""

    def reply(self, request):
        perception, answer = self.seen(request)
        if request.prefix:
            return blocks("", self.stated(request), self.tags, request.prefix)
        return blocks(perception, answer, self.tags)


class Lucky(Scripted):
    """Answers from the image and writes a perception that has nothing to do with it."""

    def reply(self, request):
        return blocks("a fine picture", self.seen(request)[1], self.tags, request.prefix or None)


class Guesser(Scripted):
    """Always says the same."""

    def reply(self, request):
        return blocks("red 4 ; blue 2", "5", self.tags, request.prefix or None)


class Terse(Scripted):
    """Reads the image and gives the bare answer, without a perception."""

    def reply(self, request):
        opening, closing = self.tags.block("answer")
        return f"{request.prefix}{opening}{self.seen(request)[1]}{closing}"


class Fickle(Scripted):
    """Each time another answer, whatever it sees and states."""

    def reply(self, request):
        return blocks(f"look {len(self.asked)}", 100 + len(self.asked), self.tags, request.prefix or None)

    def __call__(self, requests, seed):
        replies = []
        for request in requests:
            replies += super().__call__([request], seed)
        return replies


class Knower(Scripted):
    """Knows right answers by heart, and says them unless it believes what it is shown: legible, blank, corrupted."""

    def __init__(self, rows, believes=()):
        super().__init__(rows)
        self.believes = believes
        self.by_id = {row["id"]: row for row in rows}

    def reply(self, request):
        perception, answer = self.seen(request)
        known = self.by_id[request.key.split("/")[-2]]["answer"]
        believed = self.shown(request, perception) in self.believes
        return blocks(perception, answer if believed else known, self.tags, request.prefix or None)

    def shown(self, request, perception):
        """The kind of the image."""
        if perception != "nothing":
            return "legible"
        return "corrupted" if request.images and request.images[0].getbbox() else "blank"


class Mixed(Scripted):
    """Models that take turns: the replies to a question and to its variants are those of one model for each sample."""

    def __init__(self, rows, samples, models):
        super().__init__(rows)
        self.models = models
        self.turns = {f"{row['id']}/{k}": i * samples + k for i, row in enumerate(rows) for k in range(samples)}

    def reply(self, request):
        turn = self.turns["/".join(request.key.split("/")[-2:])]
        return self.models[turn % len(self.models)]([request], "")[0].text


def audit(model, folder, *, samples=2, **options):
    """The figures of a whole evaluation with audit: (plain figures, audit figures), values only."""
    settings = Options(samples=samples, batch_size=5, seed=3, response_format=model.tags, audit=True, **options)
    result = evaluate(lambda: model, model.rows, settings, ReplyStore(folder))
    figures = [{name: e.value for name, e in part.items()} for part in (result.metrics, result.audit)]
    return figures[0], figures[1]
