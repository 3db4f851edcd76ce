import pyarrow as pa
import pytest

from common.apps.wordcount import Lines, neighbours, read_model, read_update
from common.config import Settings
from common.wire.messages import MessageError

LINES = Lines(Settings())


def test_neighbours_are_distinct_other_words() -> None:
    found = neighbours(["a b b a", "a  c", "d", ""])
    assert found == {"a": {"b", "c"}, "b": {"a"}, "c": {"a"}, "d": set()}


def test_check_refuses_lines_without_words() -> None:
    reasons = LINES.read(pa.array(["a b", " ", "", None], pa.string())).reasons
    assert reasons.to_pylist() == [None, *["there is no word"] * 3]


def test_key_spreads_lines() -> None:
    lines = [f"line {n}" for n in range(1000)]
    assert len(set(LINES.keys(lines, LINES.read(pa.array(lines)).columns))) == 1000


def test_messages_are_read() -> None:
    assert read_model('{"a":1,"b":0}') == {"a": 1, "b": 0}
    assert read_update("a,3") == ("a", 3, [])
    assert read_update('"x,y",3,b,c') == ("x,y", 3, ["b", "c"])


@pytest.mark.parametrize("model", ["", "[]", '{"a":[]}', '{"a":"x"}', "3"])
def test_bad_models_are_refused(model: str) -> None:
    with pytest.raises(MessageError, match="words and counts"):
        read_model(model)


@pytest.mark.parametrize("update", ["a", "a,b", '"a', "[]"])
def test_bad_updates_are_refused(update: str) -> None:
    with pytest.raises(MessageError, match="not word,count"):
        read_update(update)
