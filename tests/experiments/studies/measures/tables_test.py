"""Tables of figures by seed."""

import warnings

import numpy as np

from experiments.studies.measures.tables import seed_table


def test_the_last_line_has_means_and_deviations_of_the_known_values():
    rows = {0: [1.0, np.nan, 5.0], 7: [3.0, np.nan, np.nan]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = seed_table(["a", "b", "c"], rows, 2).splitlines()
    assert lines[0] == "| street | a | b | c |" and lines[3] == "| 7 | 3.00 | nan | nan |"
    assert lines[4] == "| mean | 2.00 +- 1.41 | nan +- nan | 5.00 +- nan |"
