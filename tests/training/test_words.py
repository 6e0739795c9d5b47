"""Words that mean pictures."""

from collections import Counter

from style_a_video.training import captions
from style_a_video.training.artists import WORDS


def test_no_name_means_two_things():
    of_styles = [
        name for languages in captions.NAMES.values() for some in languages for name in some
    ]
    of_words = [name for word in WORDS.values() for name in (*word.english, *word.chinese)]
    counted = Counter(name.lower() for name in (*of_styles, *of_words))
    assert [name for name in map(str.lower, of_words) if counted[name] > 1] == []
