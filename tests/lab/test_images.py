"""Images: reproducible layers, archives without what is there already, names as the kubelet asks for them."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab import content, images, layers
from lab.errors import LabError
from lab.images import Image
from lab.layers import Layer


def layer(folder: Path, name: str, text: str) -> Layer:
    """A layer with one file."""
    (folder / name).write_text(text)
    tar = folder / f"{name}.tar"
    layers.pack(tar, {f"opt/{name}": folder / name})
    data = tar.read_bytes()
    return Layer(tar, hashlib.sha256(data).hexdigest(), len(data))


def unpacked(archive: Path) -> dict[str, bytes]:
    """All files of an archive."""
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


def test_a_layer_depends_on_nothing_but_its_files(tmp_path: Path) -> None:
    first = layer(tmp_path, "one", "text")
    (tmp_path / "one").touch()
    (tmp_path / "again").mkdir()
    assert layer(tmp_path / "again", "one", "text").digest == first.digest
    assert layer(tmp_path, "one", "other text").digest != first.digest


def test_files_of_a_layer_are_roots_and_as_executable_as_before(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    (tmp_path / "program").write_text("x")
    (tmp_path / "program").chmod(0o700)
    layers.pack(tmp_path / "tar", {"a/plain": tmp_path / "plain", "a/b/program": tmp_path / "program"})
    with tarfile.open(tmp_path / "tar") as tar:
        found = {member.name: (member.mode, member.uid, member.mtime) for member in tar.getmembers()}
    assert found == {"a": (0o755, 0, 0), "a/b": (0o755, 0, 0), "a/plain": (0o644, 0, 0), "a/b/program": (0o755, 0, 0)}


def test_an_archive_is_a_layout_whose_digests_hold(tmp_path: Path) -> None:
    shared, own = layer(tmp_path, "shared", "s"), layer(tmp_path, "own", "o")
    wanted = [Image("hephy/router:canary", (shared, own), entrypoint=("nginx",)), Image("lab.local/base:1", (shared,), cmd=("sh",), user="1:1")]
    images.archive(tmp_path / "archive", wanted)
    files = unpacked(tmp_path / "archive")
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    index = json.loads(files["index.json"])
    assert [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]] == ["docker.io/hephy/router:canary", "lab.local/base:1"]
    manifest = json.loads(files["blobs/sha256/" + index["manifests"][0]["digest"].removeprefix("sha256:")])
    assert [entry["digest"] for entry in manifest["layers"]] == [f"sha256:{shared.digest}", f"sha256:{own.digest}"]
    config: dict[str, Any] = json.loads(files["blobs/sha256/" + manifest["config"]["digest"].removeprefix("sha256:")])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{shared.digest}", f"sha256:{own.digest}"]
    assert config["config"]["Entrypoint"] == ["nginx"]
    assert "Cmd" not in config["config"]


def test_layers_that_are_there_are_left_out(tmp_path: Path) -> None:
    shared, own = layer(tmp_path, "shared", "s"), layer(tmp_path, "own", "o")
    images.archive(tmp_path / "archive", [Image("a/b:1", (shared, own), entrypoint=("x",))], present=[shared.digest])
    names = unpacked(tmp_path / "archive")
    assert f"blobs/sha256/{own.digest}" in names
    assert f"blobs/sha256/{shared.digest}" not in names


def test_an_image_is_another_one_when_what_it_starts_changes(tmp_path: Path) -> None:
    one = layer(tmp_path, "one", "1")
    assert Image("a:1", (one,), entrypoint=("x",)).identity == Image("b:1", (one,), entrypoint=("x",)).identity
    assert Image("a:1", (one,), entrypoint=("x",)).identity != Image("a:1", (one,), entrypoint=("y",)).identity


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("hephy/router:canary", "docker.io/hephy/router:canary"),
        ("quay.io/deis/router:v2", "quay.io/deis/router:v2"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10.1"),
    ],
)
def test_names_are_those_that_the_kubelet_asks_for(name: str, full: str) -> None:
    assert images._full(name) == full


@pytest.mark.parametrize("entry", [None, {}, {"user": "1"}, {"entrypoint": ["x"], "entrypiont": 1}, "x"])
def test_a_bad_entry_in_the_table_names_the_image(entry: Any) -> None:
    with pytest.raises(LabError, match="some/image"):
        images._from_table("some/image:1", entry, ())


def test_a_store_is_copied_as_links_but_its_databases_are_not_shared(tmp_path: Path) -> None:
    layer_folder = Path("io.containerd.snapshotter.v1.overlayfs/snapshots/1")
    source = tmp_path / "source"
    constant = ["io.containerd.content.v1.content/blobs/sha256/abc", "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/etc/passwd"]
    own = ["io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db"]
    for name in [*constant, *own]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/link").symlink_to("nowhere")
    assert content.copy(source, tmp_path / "target") == []
    for name in constant:
        assert (tmp_path / "target" / name).samefile(source / name)
    for name in own:
        assert (tmp_path / "target" / name).read_text() == name
        assert not (tmp_path / "target" / name).samefile(source / name)
    assert (tmp_path / "target/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/link").is_symlink()
    assert content.copy(source, tmp_path / "node", layers_too=False) == [layer_folder]
    assert list((tmp_path / "node" / layer_folder).iterdir()) == []
    assert (tmp_path / "node" / constant[0]).samefile(source / constant[0])
