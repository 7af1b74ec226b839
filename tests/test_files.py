import hashlib

import pytest

from tpifu.files import code_digest, digest, whole_file


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "file"
    with whole_file(path) as part:
        part.write_text("old")
        assert not path.exists()

    def fail():
        with whole_file(path) as part:
            part.write_text("part of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [(file.name, file.read_text()) for file in path.parent.iterdir()] == [("file", "old")]


def test_a_digest_covers_the_contents_of_files_bytes_and_folders_in_order(tmp_path):
    (tmp_path / "folder").mkdir()
    one, two = tmp_path / "folder" / "1", tmp_path / "folder" / "2"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    expected = hashlib.sha256(
        hashlib.sha256(b"one").digest() + hashlib.sha256(b"two").digest()
    ).hexdigest()
    assert digest(tmp_path / "folder") == digest(one, two) == digest(b"one", b"two") == expected
    assert digest(two, one) != expected


def test_a_digest_of_code_covers_names_and_contents(tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.files.PACKAGE", tmp_path)
    (tmp_path / "model").mkdir()
    found = []
    for name, text in (("a.py", "1"), ("b.py", "1"), ("b.py", "2")):
        (tmp_path / "model" / name).write_text(text)
        found.append(code_digest("model"))
        (tmp_path / "model" / name).unlink()
    (tmp_path / "model" / "notes.txt").write_text("1")
    assert len({*found, code_digest("model"), code_digest()}) == 4  # text files do not count
    with pytest.raises(FileNotFoundError):
        code_digest("nowhere.py")
