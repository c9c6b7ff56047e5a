"""The bill of materials names what is installed, with digests, and nothing of the machine."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "sbom.py"


@pytest.fixture(scope="module")
def sbom():
    spec = importlib.util.spec_from_file_location("sbom", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def inputs(tmp_path):
    wheel = tmp_path / "torch wheel.whl"
    wheel.write_bytes(b"torch")
    ours = tmp_path / "pseudo3d.whl"
    ours.write_bytes(b"ours")

    def row(name, version, url, digest=None):
        info = {"hashes": {"sha256": digest}} if digest else {}
        download = {"url": url, "archive_info": info}
        return {"metadata": {"name": name, "version": version}, "download_info": download}

    report = {
        "install": [
            row("pseudo3d", "1.2.3", ours.as_uri()),
            row("torch", "2.13.0+cpu", wheel.as_uri()),
            row("Typing_Extensions", "4", "https://host/t.whl", "ab" * 32),
        ]
    }

    def component(name, *links):
        made = {"name": name, "bom-ref": name}
        return made | ({"externalReferences": [{"url": url} for url in links]} if links else {})

    bom = {
        "metadata": {"component": {"name": "pseudo3d", "bom-ref": "root"}},
        "components": [
            component("pip"),
            component("pseudo3d", "file:///home"),
            component("torch", "file:///wheels/torch.whl", "https://pytorch.org"),
            component("typing-extensions"),
        ],
        "dependencies": [
            {"ref": "root", "dependsOn": ["torch", "pip"]},
            {"ref": "pip"},
            {"ref": "torch", "dependsOn": ["typing-extensions"]},
        ],
    }
    return bom, report


def test_each_component_has_the_digest_of_its_file_and_no_place_of_the_machine(sbom, inputs):
    done = sbom.finished(*inputs)
    digests = {c["name"]: c["hashes"][0]["content"] for c in done["components"]}
    assert digests == {
        "torch": hashlib.sha256(b"torch").hexdigest(),
        "typing-extensions": "ab" * 32,
    }
    assert "file:" not in str(done)
    assert done["components"][0]["externalReferences"] == [{"url": "https://pytorch.org"}]
    assert done["metadata"]["component"]["version"] == "1.2.3"
    assert done["dependencies"] == [
        {"ref": "root", "dependsOn": ["torch"]},
        {"ref": "torch", "dependsOn": ["typing-extensions"]},
    ]


def test_what_is_installed_and_not_listed_is_an_error(sbom, inputs):
    bom, report = inputs
    bom["components"] = bom["components"][:3]
    with pytest.raises(SystemExit, match="typing-extensions"):
        sbom.finished(bom, report)
