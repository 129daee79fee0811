"""The process whose forks run entry points: one for all tests of a worker."""

import pytest

from tests.experiments.forks import ForkServer


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = ForkServer(tmp_path_factory.mktemp("said"))
    yield server
    server.close()
