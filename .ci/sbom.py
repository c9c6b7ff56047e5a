"""Finish a bill of materials: digests of what was installed, and nothing of the building machine.

    python .ci/sbom.py BOM REPORT OUT

BOM is what `cyclonedx-py environment` wrote, REPORT what `pip install --report` wrote. The tools of
the environment that the package does not need (pip, setuptools) are left out.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

OWN = "pseudo3d"


def plain(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def digests(report: dict[str, Any]) -> dict[str, str]:
    """sha256 of each file that was installed, by name."""
    found = {}
    for row in report["install"]:
        info = row["download_info"]
        digest = info.get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:  # a file of this machine
            path = Path(unquote(urlsplit(info["url"]).path))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found[plain(row["metadata"]["name"])] = digest
    return found


def finished(bom: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """The bill of what was installed, each component with the digest of its file."""
    known = digests(report)
    kept = [c for c in bom["components"] if plain(c["name"]) in known and plain(c["name"]) != OWN]
    for component in kept:
        digest = known[plain(component["name"])]
        component["hashes"] = [{"alg": "SHA-256", "content": digest}]
        # cyclonedx-py writes where a file was found, which may be a folder of this machine
        links = component.get("externalReferences", [])
        component["externalReferences"] = [
            link for link in links if not link["url"].startswith("file:")
        ]
        if not component["externalReferences"]:
            del component["externalReferences"]
    root = bom["metadata"]["component"]
    refs = {root["bom-ref"], *(c["bom-ref"] for c in kept)}
    bom["components"] = kept
    bom["dependencies"] = [
        {**row, "dependsOn": [ref for ref in row.get("dependsOn", []) if ref in refs]}
        for row in bom.get("dependencies", [])
        if row["ref"] in refs
    ]
    root["version"] = next(
        row["metadata"]["version"]
        for row in report["install"]
        if plain(row["metadata"]["name"]) == OWN
    )
    missing = set(known) - {plain(c["name"]) for c in kept} - {OWN}
    if missing:
        raise SystemExit(f"not in the bill of materials: {', '.join(sorted(missing))}")
    return bom


def main() -> None:
    """Read the two files, write the third."""
    bom, report, out = map(Path, sys.argv[1:])
    done = finished(json.loads(bom.read_text()), json.loads(report.read_text()))
    out.write_text(json.dumps(done, indent=2) + "\n")


if __name__ == "__main__":
    main()
