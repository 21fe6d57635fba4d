"""What is said of the input goes to stderr, and logging is left as it was."""

import logging

from PIL import Image

from vitdecomp._utils.notes import notes_on_stderr


def test_a_note_is_printed_once_and_plainly(capsys):
    logger = logging.getLogger("vitdecomp.images")
    with notes_on_stderr():
        for _ in range(2):
            logger.warning("left out of %s", "a\x1b[31m\nb")
        logger.info("nothing")
        logging.getLogger("vitdecomp_alignment.x").warning("of a plugin")
        logging.getLogger("PIL").debug("of a library")
    assert capsys.readouterr().err == "note: left out of a␛[31m b\nnote: of a plugin\n"
    assert logging.getLogger("vitdecomp").handlers == []
    assert logging.getLogger("vitdecomp").propagate


def test_a_command_says_what_it_left_out(tmp_path, in_process):
    for name in ("cat", "cat/.ipynb_checkpoints", "@eaDir"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name / "0.png")
    done = in_process(tmp_path, "extract", "scenes:deit", "--images", "photos", "--out", "s.lance", "--json")
    assert done.returncode == 0, done.stderr
    assert "left out of photos: 2 hidden or the system's own (@eaDir, cat/.ipynb_checkpoints)" in done.stderr
    assert done.stderr.count("left out") == 1
    assert '"images": 1' in done.stdout
