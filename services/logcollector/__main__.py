"""Entry of the log collector process."""

from services.logcollector.app import main
from shared.service import run

if __name__ == "__main__":
    run("logcollector", main)
