"""A workshop and a run in it, made once and only read."""

from pathlib import Path

import pytest

from tests.captioning.workshop import Workshop, captioning, set_up


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return set_up(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="session")
def run(workshop: Workshop) -> Path:
    """The folder of a GRU trained for two epochs."""
    folder = workshop.folder / "gru"
    done = captioning(*workshop.train(folder, "--quiet"))
    assert done.code == 0, done.err
    return folder
