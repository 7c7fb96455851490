"""Entry of the registry process."""

from services.registry.app import main
from shared.service import run

if __name__ == "__main__":
    run("registry", main)
