import pytest

from project.metrics.ptb.lower import lower


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("DOG", "dog"),
        ("İ", "i\u0307"),
        ("ΟΔΟΣ", "οδος"),
        ("Σ", "σ"),
        ("ΑΣ'Α", "ασ'α"),
        ("ΟΔΟΣ-ΟΔΟΣ", "οδοσ-οδος"),  # one word to Java
        ("ΑΣ.10", "ας.10"),
        ("5-Σ", "5-σ"),
        ("A中Σ", "a中σ"),
        ("A1Σ", "a1ς"),
        ("AאΣ", "aאς"),
    ],
)
def test_a_sigma_is_final_where_java_ends_the_word(token, expected):
    assert lower(token) == expected
