"""How the end of a process after a signal is judged."""

import pytest

from experiments.studies.measures.robustness.kills import Kill, judge
from experiments.studies.measures.robustness.outcomes import HANG, RUNS, SENTENCE, TRACEBACK

pytestmark = pytest.mark.slow

SAVED = "stopped at step 4, saved as run/4; run the same command again to continue."
END = Kill("SIGTERM", 3.0, "recon/4", "anything else", 143, 9.0, 2.0, SAVED, False)


@pytest.mark.parametrize(("changes", "kind"), [
    ({}, SENTENCE),
    ({"saving": 6.0}, HANG),
    ({"waited": 70.0}, HANG),
    ({"code": 1}, TRACEBACK),
    ({"code": -11}, TRACEBACK),
    ({"message": ""}, TRACEBACK),
    ({"code": -15, "message": ""}, RUNS),
    ({"code": -15}, TRACEBACK),
    ({"code": -15, "is_finished": True}, RUNS),
    ({"code": 0, "during": "it had ended"}, RUNS),
    ({"code": 1, "during": "it had ended"}, TRACEBACK),
    ({"name": "SIGINT", "code": 130}, SENTENCE),
    ({"name": "SIGINT"}, TRACEBACK),
    ({"name": "SIGKILL", "code": -9}, RUNS),
    ({"name": "SIGKILL", "code": 1}, TRACEBACK),
])  # fmt: skip
def test_the_end_is_judged_by_code_message_and_time(changes, kind):
    assert judge(END._replace(**changes))[0] == kind
