"""The lab's own data: what was put into a registry and a store is known again, and what is wrong there is noticed."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.image.lab import s3
from lab.seed import objects
from lab.seed.objects import Ledger
from lab.seed.registry import Registry, push_images
from tests.platforms.sandbox import Sandbox, free_port


def test_pushed_images_come_back_by_digest_and_a_changed_byte_is_noticed(sandbox: Sandbox) -> None:
    port, kept = free_port(), sandbox.folder / "tmp/images"
    settings = f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: /tmp/images}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    (sandbox.folder / "tmp/images.yml").write_text(settings)
    with sandbox.running("docker-registry", "serve", "/tmp/images.yml", port=port):
        registry = Registry(f"127.0.0.1:{port}")
        images = push_images(registry, count=2, layer_bytes=1 << 16, seed=7)
        assert push_images(registry, count=2, layer_bytes=1 << 16, seed=7) == images
        assert [registry.pull(image) > 1 << 17 for image in images] == [True, True]
        spoil(next(path for path in kept.rglob("data") if path.stat().st_size == 1 << 16))
        with pytest.raises(LabError, match="came back"):
            print([registry.pull(image) for image in images])


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


def test_objects_are_known_again_in_a_bucket_of_any_name(image: Sandbox) -> None:
    port, keys = free_port(), (secrets.token_hex(6), secrets.token_hex(16))
    command = ("minio", "server", "--quiet", "/tmp/objects", "--address", f"127.0.0.1:{port}")
    with image.running(*command, port=port, env={"MINIO_ROOT_USER": keys[0], "MINIO_ROOT_PASSWORD": keys[1]}):
        store = s3.Store(f"http://127.0.0.1:{port}", *keys)
        s3.wait_for_bucket(store, "git")
        slugs, log = Ledger("git"), Ledger("dbwal")
        put = objects.put_slugs(store, slugs, ["one", "two"], size=1 << 12)
        objects.put_write_ahead_log(store, log)
        assert put[0].key.startswith("home/one:git-")
        assert [entry.key for entry in store.entries("git")] == sorted(slugs.objects)
        assert objects.copied([slugs, log], store) == []
        assert len(objects.copied([slugs], store, {"git": "dbwal"})) == len(slugs.objects)
        Ledger("git").put(store, put[1].key, b"other")
        store.send("DELETE", f"/dbwal/{next(iter(log.objects))}")
        assert objects.copied([slugs, log], store) == [f"git/{put[1].key}", f"dbwal/{next(iter(log.objects))}"]
