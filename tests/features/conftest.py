"""The small videos and networks of the engine's tests."""

from engine.conftest import films as films
from engine.conftest import fresh as fresh
from engine.conftest import listed as listed
