"""The perception block of a reply: what it states, and the reply up to its end with another perception in it."""

from srpo.roles import ResponseFormat, Role


def stated_perception(text: str, response_format: ResponseFormat) -> str | None:
    """The content of the perception block of a structured reply, as it stands; None for any other reply."""
    start, end = _bounds(text, response_format)
    return text[start:end] if end else None


def up_to_perception(text: str, response_format: ResponseFormat, perception: str | None = None) -> str | None:
    """A structured reply up to and with the closing tag of its perception block; None for any other reply.

    Args:
        text: the reply.
        response_format: its tags.
        perception: stands in for what the block says, between the white space that the reply has there.
    """
    start, end = _bounds(text, response_format)
    if not end:
        return None
    content = text[start:end]
    if perception is not None:
        stated = content.strip()
        content = content.replace(stated, perception.strip(), 1)
    return f"{text[:start]}{content}{response_format.block('perception')[1]}"


def written_perception(perception: str, response_format: ResponseFormat, opened: str | None = None) -> str:
    """A perception block in the white space of the reference replies, at the beginning of a reply.

    Args:
        perception: its content.
        response_format: the tags.
        opened: the tag that the chat template opens at the end of the prompt, which is closed first.
    """
    opening, closing = response_format.block("perception")
    before = f"\n</{opened}>\n\n" if opened else ""
    return f"{before}{opening} {perception.strip()} {closing}"


def perception_of_prefix(prefix: str, response_format: ResponseFormat) -> str:
    """The content of the perception block that ends a prefix."""
    opening, closing = response_format.block("perception")
    return prefix.removesuffix(closing).rpartition(opening)[2].strip()


def _bounds(text: str, response_format: ResponseFormat) -> tuple[int, int]:
    """Where the content of the perception block starts and ends; (0, 0) for a reply that is not structured."""
    spans = (span for span in response_format.spans(text) if span.role is Role.PERCEPTION)
    return next(((span.start, span.end) for span in spans), (0, 0))
