from logs import ROWS, compress, write_lines
from lorerm.data.readers.format import Format, needed_columns, open_binary, open_text


def test_file_is_recognised_by_the_end_of_its_name_and_a_folder_by_a_file_in_it(tmp_path):
    log = Format(lambda path, user_column: iter(()), suffixes=(".log",))
    folder = Format(log.read, folder_markers=("mark",))
    for name in ("a.log", "A.LOG", "a.log.gz"):
        assert log.recognises(tmp_path / name)
        assert not folder.recognises(tmp_path / name)
    assert not log.recognises(tmp_path / "a.log.txt")
    (tmp_path / "folder.log").mkdir()
    assert not log.recognises(tmp_path / "folder.log")
    assert not folder.recognises(tmp_path / "folder.log")
    (tmp_path / "folder.log" / "mark").touch()
    assert folder.recognises(tmp_path / "folder.log")


def test_gzipped_file_is_decompressed(tmp_path):
    plain = write_lines(tmp_path / "a.jsonl", ROWS).read_bytes()
    path = compress(tmp_path / "a.jsonl")
    with open_binary(path) as stream:
        assert stream.read() == plain
    with open_text(path) as text:
        assert text.read() == plain.decode()


def test_needed_columns_are_all_where_one_is_missing():
    found = ["worker", "prompt", "chosen", "rejected", "weight", "noise"]
    assert needed_columns(found, "worker") == found[:-1]
    assert needed_columns(found, "user_id") == found
    assert needed_columns(["worker", "prompt", "noise"], "worker") == ["worker", "prompt", "noise"]
