"""What a real llama.cpp server sent is read and folded right. `recordings/README.md` says what it is."""

from pathlib import Path

import pytest

from dual_mode_streaming.errors import RemoteError, StreamInterrupted
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.llm.dialects import Anthropic, OpenAIChat, OpenAIResponses
from dual_mode_streaming.llm.events import Usage
from dual_mode_streaming.llm.fold import fold_all

FOLDER = Path(__file__).parent / "recordings"
SENTENCE = "Hello there, welcome to my little corner"


def body(name):
    _, _, content = (FOLDER / f"llamacpp_{name}.txt").read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
    return content


def streamed(dialect, name, size=7):
    content = body(name)
    parser = dialect.parser()
    events = [event for at in range(0, len(content), size) for event in parser.feed(content[at : at + size])]
    return fold_all([*events, *parser.flush()])


def batch(dialect, name):
    return dialect.parse_batch(decode_json(body(name)))


def test_a_chat_is_the_same_in_both_modes():
    completion = streamed(OpenAIChat(), "chat_stream")
    assert completion.first.text == SENTENCE
    assert completion.first.finish == "length"
    # How much of the prompt was in a cache differs from run to run.
    assert completion.usage == Usage(35, 8, 34)
    other = batch(OpenAIChat(), "chat_batch")
    assert other.choices == completion.choices
    assert other.usage == Usage(35, 8, 0)


def test_a_chat_without_usage():
    completion = streamed(OpenAIChat(), "chat_stream_nousage")
    assert (completion.first.text, completion.usage) == (SENTENCE, None)


def test_the_probabilities_of_a_chat():
    choice = batch(OpenAIChat(), "chat_logprobs_batch").first
    assert "".join(token["token"] for token in choice.logprobs) == choice.text == SENTENCE
    assert choice.logprobs[0]["logprob"] == -2.202354669570923


@pytest.mark.parametrize("number", range(1, 7))
def test_two_choices_of_which_the_second_begins(number):
    completion = streamed(OpenAIChat(), f"chat_n2_stream_{number}")
    assert [(choice.index, choice.text, choice.finish) for choice in completion.choices] == [
        (0, SENTENCE, "length"),
        (1, SENTENCE, "length"),
    ]


def test_a_chat_with_tools_that_are_not_called():
    completion = streamed(OpenAIChat(), "tools_stream")
    assert completion.choices == batch(OpenAIChat(), "tools_batch").choices
    assert completion.first.text.startswith("Bien sûr, a propos")
    assert completion.first.tool_calls == ()


def test_responses_are_the_same_in_both_modes():
    """This server leaves out the numbers of events and items."""
    completion = streamed(OpenAIResponses(), "responses_stream")
    assert completion == batch(OpenAIResponses(), "responses_batch")
    assert (completion.first.text, completion.first.finish) == ("Hello there, welcome", "stop")
    assert completion.usage == Usage(35, 4, 34)


def test_messages():
    completion = streamed(Anthropic(), "anthropic_stream")
    assert (completion.first.text, completion.first.finish) == ("Hello there! I", "length")
    # The prompt has 33 tokens, 26 of them from a cache: this dialect counts them apart.
    assert completion.usage == Usage(33, 4, 26)


@pytest.mark.parametrize(
    ("dialect", "name"),
    [(OpenAIChat(), "chat_stream"), (OpenAIResponses(), "responses_stream"), (Anthropic(), "anthropic_stream")],
)
def test_a_recording_that_is_cut_is_interrupted(dialect, name):
    parser = dialect.parser()
    parser.feed(body(name)[:700])
    with pytest.raises(StreamInterrupted):
        parser.flush()


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("err_bad", "invalid_request_error", "Expected 'messages' to be an array"),
        ("err_ctx", "exceed_context_size_error", r"request \(3031 tokens\) exceeds"),
    ],
)
def test_errors_have_their_status_in_the_body(name, code, message):
    with pytest.raises(RemoteError, match=message) as caught:
        batch(OpenAIChat(), name)
    assert (caught.value.status, caught.value.code) == (400, code)
