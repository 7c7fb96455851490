"""`wherry check`: whether this machine has what containers need, one line a feature, and what to do if not."""

from __future__ import annotations

import argparse
from typing import Any

from shared.kernel.check import Feature, features
from shared.kernel.nftables.probe import nf_tables_available


def add_parsers(commands: Any) -> None:
    parser = commands.add_parser("check", help="check that this machine's kernel has what the cluster needs")
    parser.set_defaults(func=show)


def all_features() -> list[Feature]:
    ok, detail = nf_tables_available()
    nf_tables = Feature(
        "nf_tables", ok, detail, "load the modules nf_tables and nft_chain_nat, or use a kernel with CONFIG_NF_TABLES"
    )
    return [*features(), nf_tables]


def failed_features() -> list[str]:
    """Names of the features that are needed and missing."""
    return [feature.name for feature in all_features() if not feature.ok and feature.required]


def show(args: argparse.Namespace) -> int:
    missing = 0
    for feature in all_features():
        mark = "ok     " if feature.ok else ("MISSING" if feature.required else "absent ")
        print(f"{mark} {feature.name:24} {feature.detail}")
        if not feature.ok:
            print(f"        {'':24} {feature.remedy}")
            missing += feature.required
    print("everything the cluster needs is here" if not missing else f"{missing} needed features are missing")
    return 1 if missing else 0
