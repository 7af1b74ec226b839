"""Whole files and folders, digests, and the order of frames.

Reports name frame10 before frame2 in a shell's list, and an error about a hidden folder. Further
members, tested below: two files of one frame, a folder among files, gaps, repeats and decreasing
numbers, names of several clips; remains of a crash, links, a folder that cannot be replaced.
"""

import hashlib
import os
from pathlib import Path

import pytest

from tpifu.errors import DataError
from tpifu.files import (
    code_digest,
    digest,
    frame_files,
    numbering_warning,
    whole_file,
    whole_folder,
)


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_an_output_appears_whole_or_not_at_all(tmp_path, whole):
    path = tmp_path / "outputs" / "output"

    def write(text, error=None):
        with whole(path) as part:
            file = part if whole is whole_file else part / text
            file.write_text(text)
            if error:
                raise error

    def contents():
        return [file.read_text() for file in path.parent.rglob("*") if file.is_file()]

    write("old")
    with pytest.raises(KeyboardInterrupt):
        write("broken", KeyboardInterrupt())
    assert contents() == ["old"]
    write("new")
    assert contents() == ["new"]
    assert list(path.parent.iterdir()) == [path]


def test_remains_of_a_crash_are_removed(tmp_path):
    (tmp_path / ".points.part").mkdir()
    (tmp_path / ".points.part" / "junk").write_text("")
    with whole_folder(tmp_path / "points") as scratch:
        (scratch / "file").write_text("")
    assert [path.name for path in (tmp_path / "points").iterdir()] == ["file"]
    assert [path.name for path in tmp_path.iterdir()] == ["points"]


def write_folder(folder, text):
    with whole_folder(folder) as part:
        (part / "file").write_text(text)


def test_a_folder_behind_a_symbolic_link_is_replaced_and_the_link_kept(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "points"
    link.symlink_to(tmp_path / "disk" / "target")
    for text in ("first", "second"):
        write_folder(link, text)
        assert link.is_symlink()
        assert (tmp_path / "disk" / "target" / "file").read_text() == text
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["target"]


def test_a_folder_that_cannot_be_replaced_is_kept(tmp_path, monkeypatch):
    folder, replace = tmp_path / "points", os.replace
    write_folder(folder, "old")

    def refuse_new(source, target):
        if str(source).endswith(".part"):
            raise OSError("busy")
        replace(source, target)

    monkeypatch.setattr("os.replace", refuse_new)
    with pytest.raises(OSError, match="busy"):
        write_folder(folder, "new")
    assert (folder / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_an_error_of_creation_names_the_folder_itself(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/out: cannot be written \(Not a directory\)"):
        write_folder(tmp_path / "file" / "out", "")


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


def paths(*names):
    return [Path("take") / name for name in names]


def test_a_folder_of_frames_is_read_in_the_order_of_its_numbers(tmp_path):
    for name in ("frame10.obj", "frame2.OBJ", "frame2.mtl", ".frame3.obj", "frame1.obj"):
        (tmp_path / name).touch()
    found = frame_files([tmp_path], (".obj", ".ply"))
    assert [path.name for path in found] == ["frame1.obj", "frame2.OBJ", "frame10.obj"]
    (tmp_path / "frame2.ply").touch()
    message = "frame2.OBJ: frame2.ply is the same frame; pass the files of one format"
    with pytest.raises(DataError, match=message):
        frame_files([tmp_path], (".obj", ".ply"))


def test_a_list_of_frames_in_the_order_of_the_shell_is_rejected(tmp_path):
    for given in (paths("f1.obj", "f2.obj", "f10.obj"), paths("b.obj", "a.obj"), paths("f2.obj")):
        assert frame_files(given, (".obj",)) == given
    message = "take/f10.obj: comes before f2.obj, as the shell sorts them; pass the folder take"
    with pytest.raises(DataError, match=message):
        frame_files(paths("f1.obj", "f10.obj", "f2.obj"), (".obj",))
    with pytest.raises(DataError, match="is a folder among several inputs"):
        frame_files([tmp_path, Path("f1.obj")], (".obj",))


@pytest.mark.parametrize(
    ("names", "warning"),
    [
        (("f1.obj", "f2.obj", "f3.obj"), None),
        (("f0.obj", "f5.obj", "f10.obj"), None),
        (("standing.obj", "bent.obj"), None),
        (("take2_0999.obj", "take2_1000.obj"), None),
        (("2024-11-02_09.59.58.obj", "2024-11-02_10.00.03.obj"), None),
        (("0000_f1.obj", "0001_f2.obj", "0003_f4.obj"), "frames are missing"),
        (("f1.obj", "f2.obj", "f4.obj"), "take/f4.obj: follows f2.obj; frames are missing between"),
        (
            ("f3.obj", "f2.obj", "f1.obj"),
            "take/f2.obj: follows f3.obj; the numbers do not increase",
        ),
        (("f1.obj", "f1.ply", "f2.obj"), "take/f1.ply: follows f1.obj; the numbers do not"),
        (
            ("back1.obj", "back2.obj", "front1.obj"),
            "follows back2.obj; are they frames of one clip",
        ),
    ],
)
def test_gaps_and_repeats_in_the_numbers_of_frames_are_a_warning(names, warning):
    found = numbering_warning(paths(*names))
    assert found is None if warning is None else warning in found
