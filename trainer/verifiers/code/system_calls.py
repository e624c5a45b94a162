"""The system calls that a sandbox does not have, as a filter for the kernel (seccomp).

Left out is what holds memory that no limit counts (files without a name, System V shared memory),
what reaches into other processes, and what a program that computes never needs but the kernel's
attackers do. They fail with EPERM. Numbers: Linux's asm/unistd_64.h and asm-generic/unistd.h.
"""

import platform
import struct
from dataclasses import dataclass

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in struct seccomp_data
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001


@dataclass(frozen=True, slots=True)
class Machine:
    """architecture: its AUDIT_ARCH number. numbers: from here on they are another interface's."""

    architecture: int
    numbers_below: int
    denied: dict[str, int]


# The same everywhere: the calls that are newer than the machines' own tables.
_NEW = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "memfd_secret": 447,
}
MACHINES = {
    "x86_64": Machine(
        architecture=0xC000003E,
        numbers_below=0x40000000,
        denied=_NEW
        | {
            "shmget": 29,
            "shmat": 30,
            "semget": 64,
            "msgget": 68,
            "ptrace": 101,
            "pivot_root": 155,
            "chroot": 161,
            "mount": 165,
            "umount2": 166,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "unshare": 272,
            "perf_event_open": 298,
            "setns": 308,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "memfd_create": 319,
            "bpf": 321,
            "userfaultfd": 323,
        },
    ),
    "aarch64": Machine(
        architecture=0xC00000B7,
        numbers_below=0x40000000,
        denied=_NEW
        | {
            "umount2": 39,
            "mount": 40,
            "pivot_root": 41,
            "chroot": 51,
            "unshare": 97,
            "ptrace": 117,
            "msgget": 186,
            "semget": 190,
            "shmget": 194,
            "shmat": 196,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "perf_event_open": 241,
            "setns": 268,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "memfd_create": 279,
            "bpf": 280,
            "userfaultfd": 282,
        },
    ),
}


class UnknownMachineError(Exception):
    """The numbers of this machine's system calls are not known."""


def system_call_filter(machine: str = platform.machine()) -> bytes:
    """The filter as the kernel takes it, an array of struct sock_filter.

    Raises UnknownMachineError.
    """
    if machine not in MACHINES:
        raise UnknownMachineError(f"the system calls of {machine!r} are not known")
    known = MACHINES[machine]
    numbers = sorted(known.denied.values())
    # A jump counts the instructions that it leaves out. Last come "allow" and "deny".
    to_deny = [_jump(_EQUAL, number, len(numbers) - i) for i, number in enumerate(numbers)]
    program = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _jump(_EQUAL, known.architecture, 1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_AT),
        _jump(_AT_LEAST, known.numbers_below, len(numbers) + 1),
        *to_deny,
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _EPERM),
    ]
    return b"".join(program)


def _instruction(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, left_out: int) -> bytes:
    return struct.pack("=HBBI", code, left_out, 0, value)
