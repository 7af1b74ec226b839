from tools.draw_pictures import WINDOW, pictures
from tpifu.reconstruct.training_range import range_warning


def test_the_pictures_in_the_readme_show_what_gives_a_warning():
    warnings = {name: range_warning(each, WINDOW, "camera") for name, each in pictures().items()}
    good = ["good", "good: from any side"]
    assert [name for name, warning in warnings.items() if warning is None] == good
    assert "m2" in warnings["too small"]
    assert "cut off" in warnings["cut off"]
    assert "brightness" in warnings["too dark"]
    assert "inverted" in warnings["mask inverted"]
