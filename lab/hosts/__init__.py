"""Standalone hosts of a lab: Debian with systemd, a network cable, disks and sshd, reached as a machine in a rack is, over SSH."""
