"""Entry of the controllers: `python -m services.controllers`."""

from services.controllers.app import main
from shared.service import run

if __name__ == "__main__":
    run("controllers", main)
