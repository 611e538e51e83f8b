"""Protocols of tasks that ask where: units with masks or boxes in, heads and rows of masks and boxes out. One file each."""
