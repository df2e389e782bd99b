# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A platform of the first generation: what its documents advise and its code can still do is done by writing keys of etcd, the rest is told.

Each write is one compare-and-swap on the index that was observed. Keys that nobody asked for are left alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls import v1_settings_reach as reach
from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner, HostServer, Writer
from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings_plan import (
    ALL_AREAS,
    ETCD,
    PORTS,
    REGISTRATION,
    TLS,
    Door,
    Observed,
    Planner,
    backup_name,
    backup_text,
    effective,
    machines_of,
    source_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings_wish import ARGUMENTS, secrets_of, wish_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, NotFound, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Finding, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.keys import Keys, Tree
from ansible_collections.paas.hardening.plugins.module_utils._platforms.deis_v1 import BY_OPTION, EVIDENCE, MACHINES, ROOT, SETTINGS, VERSION

# Seconds between two looks from outside. Components ask etcd each five seconds.
_POLL = 1.0
_BACKUP = re.compile(r"keys-([0-9a-f]{16})\.json")
_MODE = 0o600


class V1Settings(HostServer[Observed]):
    """The keys of one platform at work."""

    main = ETCD

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._wish = wish_of(params)
        self._keys = Keys(self._wish.endpoints, self._wish.entrance)

    # Looking

    def _look(self) -> Observed:
        wish, keys = self._wish, self._keys
        tree = self._tree()
        door = Door(keys.encrypted, keys.lets_anybody_in(ROOT), keys.release(), keys.members())
        asked = wish.asks_for("registration_mode")
        count, reason = reach.administrators(wish.outside) if asked else (None, "")
        return Observed(tree, door, tuple(machines_of(self._machines())), count, reason, self._kept())

    def _tree(self) -> Tree:
        """Return all keys. A backup holds those of others, too. Raises NotFound when it is the etcd of something else."""
        tree = self._keys.read("/" if self._wish.backup_folder else ROOT)
        known = tree.folders if tree else frozenset()
        if tree is None or not known.intersection(EVIDENCE):
            hint = f"Is it the etcd of this platform? One has at least one of {', '.join(EVIDENCE)}."
            raise NotFound(f"etcd at {self._keys.endpoint} has no keys of such a platform below {ROOT}.", hint, "endpoints")
        return tree

    def _machines(self) -> Optional[Tree]:
        try:
            return self._keys.read(MACHINES)
        except Failure:
            # Who may not see them can do without; placing is refused then.
            return None

    def _kept(self) -> FrozenSet[str]:
        """Return the names of backups that hold what they hold by their name, and nobody else may read."""
        folder = self._wish.backup_folder
        return frozenset(name for name in os.listdir(folder) if _good(folder, name)) if folder else frozenset()

    def _planned(self, observed: Observed) -> Tuple[AreaPlanner, Plan]:
        planner = Planner(self._wish, observed)
        plan = planner.plan()
        if planner.refusals and not self._report_only:
            raise planner.refusals[0][1]
        return planner, plan

    def _subject(self) -> str:
        return f"etcd at {self._keys.endpoint}"

    # Doing

    def _writers(self) -> Mapping[str, Writer[Observed]]:
        return {"Key": self._apply_key, "Secret": self._apply_key, "File": self._apply_file}

    def _apply_key(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        value, node = self._wish.values[ref.name], observed.tree.nodes.get(ref.name)
        if value is not None:
            self._keys.put(ref.name, value, node.written if node else None)
        elif node is not None:
            self._keys.remove(ref.name, node.written)

    def _apply_file(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        name = os.path.basename(ref.name)
        text = next((text for text in (backup_text(observed.tree), backup_text(self._tree())) if backup_name(text) == name), None)
        if text is None:
            raise Conflict("The keys are no longer as they were observed.", "Somebody else changes them; run again.", ref.name)
        files.replace(ref.name, text, _MODE)
        if not _good(self._wish.backup_folder, name):
            raise NotProven(f"{ref.name} does not hold what was written.", "Look at the disk.", ref.name)

    # Telling

    def conclude(self, first: Optional[Observed], last: Optional[Observed], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Look at the effect from outside, and put the result together. Raises NotProven when what was asked for is not seen there."""
        if first is None or last is None:
            found = [self._finding_of(area, plan, Proof(), enforced) for area in ALL_AREAS]
            return {"findings": [finding.as_data() for finding in found], "proof": Proof().as_data(), "platform_release": "", "machines": 0, "settings": {}}
        proofs = self._proofs(last.tree, enforced)
        shut = reach.ports(self._wish.outside)
        found = [self._finding_of(area, plan, proofs.get(area, Proof()), enforced) for area in ALL_AREAS]
        found += [self._finding_of(PORTS, plan, shut, enforced)] if shut.checks else []
        seen = Proof(tuple(check for proof in (*proofs.values(), shut) for check in proof.checks))
        return {
            "findings": [finding.as_data() for finding in found],
            "proof": seen.as_data(),
            "warnings": self._warnings(),
            "platform_release": last.tree.value(VERSION) or "",
            "machines": len(last.machines),
            "settings": {setting.option: effective(setting, last.tree) for setting in SETTINGS if setting.kind != "pem"},
        }

    def _finding_of(self, area: Area, plan: Plan, proof: Proof, enforced: bool) -> Finding:
        self.source = source_of(area)
        return self._finding(area, plan, proof, enforced)

    def _proofs(self, tree: Tree, enforced: bool) -> Dict[Area, Proof]:
        looks: List[Tuple[Area, Callable[[], Proof], bool]] = [
            (REGISTRATION, lambda: reach.registration(self._wish.outside, tree), self._wish.asks_for("registration_mode")),
            (TLS, lambda: reach.routers(self._wish.outside, tree), any(self._asked_for_tls())),
        ]
        deadline = Deadline(self._wish.outside.patience if enforced else 0)
        found: Dict[Area, Proof] = {}
        for area, look, asked in looks:
            proof = look()
            while asked and proof.checks and proof.verdict != PASS and deadline.pause(_POLL):
                proof = look()
            if enforced and asked and proof.checks and proof.verdict != PASS and not self._report_only:
                hint = f"After {self._wish.outside.patience:g} s: look at the logs of the component (deisctl journal), and whether it reaches etcd."
                raise NotProven(f"{area.title}: the keys are right, but the effect is not seen: {proof}.", hint, area.control)
            found[area] = proof
        return found

    def _asked_for_tls(self) -> List[bool]:
        return [self._wish.asks_for(option) for option, setting in BY_OPTION.items() if setting.area == "tls"]


def _good(folder: str, name: str) -> bool:
    found, path = _BACKUP.fullmatch(name), os.path.join(folder, name)
    if not found or not os.path.isfile(path) or stat.S_IMODE(os.stat(path).st_mode) != _MODE:
        return False
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest().startswith(found[1])


VERB = Verb(ARGUMENTS, V1Settings, secrets_of)
