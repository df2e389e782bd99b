# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When recovery points are made without anybody, and by what: a timer of systemd, or a CronJob."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  schedule:
    description: When a timer or a CronJob makes points, with O(state=scheduled); and which one goes, with O(state=absent).
    type: dict
    suboptions:
      name:
        description:
          - Tells schedules of one host, or of one namespace, apart. Units and objects are called C(paas-hardening-backup-NAME).
          - That of a CronJob has 30 characters at most.
        type: str
        default: platform
      on_calendar:
        description:
          - When, as C(systemd.time(7\)) has it. It is required with O(state=scheduled).
          - With O(schedule.image) it is an expression of cron with five fields, in UTC, or V(hourly), V(daily), V(weekly) (on Monday) or V(monthly).
          - O(max_age) has to be shorter than the time between two runs, or every second one would find the last point young enough.
        type: str
      randomized_delay:
        description: How much later a run may begin, as V(10m), so that not all hosts or clusters work at once; V(0) for none.
        type: str
        default: 10m
      account:
        description:
          - As whom the runs of a timer run. The repository and the keys have to be that one's. Its options lie in C(/etc/paas-hardening), in a file that nobody
            else can read.
        type: str
        default: root
      timeout:
        description: How long a run may take before systemd, or the cluster, ends it, as V(12h).
        type: str
        default: 12h
      on_failure:
        description: A unit of systemd that is started when a run of a timer fails, for example one that tells somebody.
        type: str
      metrics_file:
        description:
          - A file (*.prom) in the folder of node_exporter's textfile collector, which each run of a timer writes anew, however it ends. The folder has to be
            there, and the account has to be able to write to it. C(docs/backup-alerts.yml) has rules of Prometheus for it.
        type: path
      image:
        description:
          - An image. With it the schedule is a CronJob in the platform's namespace, for O(kinds) that need no host. The task may run anywhere from where the
            API server can be reached.
          - The claim is mounted at the folder above O(repository), which is a path in the container then. The keys are read where the task runs,
            and go into a Secret beside the CronJob, together with program and options. Paths of programs are those of the image.
          - On Debian the packages python3, python3-yaml, python3-urllib3, python3-websocket, postgresql, age and ca-certificates are what the image takes, with
            a newer rclone than theirs.
          - A run is user 65532, also by its group for the volume (C(fsGroup)). Where the storage does not obey that, as NFS and hostPath, let that user write
            to the top folder of the volume.
          - Where its pod may run (C(nodeSelector), C(tolerations), C(affinity), C(priorityClassName)) may be written to the CronJob by anybody, and stays.
            Everything else that somebody changes there is brought back.
          - From outside, this module in check mode tells whether the CronJob is there, not suspended and as it has to be, and how its last runs ended.
            M(paas.hardening.workflow_backup_info) knows nothing of it, and sees the points only where the volume can be read, by user 65532, or in a copy that
            belongs to who reads it; its O(paas.hardening.workflow_backup_info#module:interval) says there whether they are young enough.
        type: str
      volume_claim:
        description: The claim that holds the repository. It is required with O(schedule.image), has to be there, and is never changed nor removed.
        type: str
      service_account:
        description:
          - As whom the pod of a CronJob asks its cluster. It has to be there. C(docs/rbac-backup-cronjob.yml) makes the default one, with the rights that it
            needs.
          - For an image of a private registry, name its Secret in C(imagePullSecrets) of the service account.
        type: str
        default: paas-hardening-backup
"""
