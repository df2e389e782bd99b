"""Programs of etcd that lie: each does its work through the real ones, but for one thing."""

from __future__ import annotations

from pathlib import Path

# What a program may do instead of its work, by the word that stands in its command.
LIARS = {
    "save says yes and writes nothing": ("etcdctl", "*' snapshot save '*", "exit 0"),
    "save is cut off": ("etcdctl", "*' snapshot save '*", '"$REAL" "$@" && truncate -s -600 "$LAST"'),
    "save gives an old snapshot": ("etcdctl", "*' snapshot save '*", 'cp "$OLD" "$LAST"'),
    "restore says yes and makes nothing": ("etcdutl", "*' restore '*", "exit 0"),
    "restore fails after its work": ("etcdutl", "*' restore '*", '"$REAL" "$@"; exit 1'),
    "restore is killed": ("etcdutl", "*' restore '*", "kill -9 $$"),
    "restore takes an old snapshot": ("etcdutl", "*' restore '*", 'shift 3; exec "$REAL" snapshot restore "$OLD" "$@"'),
    "status gives an old revision": ("etcdutl", "*' status '*", 'exec "$REAL" --write-out=json snapshot status "$OLD"'),
    "etcd does not start": ("etcd", "*' --data-dir'*", "exit 1"),
    "etcd starts empty": ("etcd", "*' --data-dir'*", 'exec "$REAL" "$@" --data-dir="$PWD/empty"'),
}


def lying(folder: Path, programs: Path, name: str, old: Path) -> Path:
    """Make a folder with the programs, of which one lies as ``name`` says; ``old`` is an old snapshot."""
    liar, pattern, instead = LIARS[name]
    folder.mkdir()
    for program in ("etcd", "etcdctl", "etcdutl"):
        script = f'#!/bin/bash\nREAL={programs}/{program} OLD={old} LAST="${{@: -1}}"\n'
        script += f'case " $* " in {pattern}) {instead};; *) exec "$REAL" "$@";; esac\n' if program == liar else 'exec "$REAL" "$@"\n'
        (folder / program).write_text(script)
        (folder / program).chmod(0o755)
    return folder
