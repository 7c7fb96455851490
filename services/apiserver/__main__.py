"""Entry point: `python -m services.apiserver`."""

from services.apiserver.app import main
from shared.service import run

if __name__ == "__main__":
    run("apiserver", main)
