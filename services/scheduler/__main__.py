"""`python -m services.scheduler`: settings come from the environment."""

from services.scheduler.app import main
from shared.service import run

if __name__ == "__main__":
    run("scheduler", main)
